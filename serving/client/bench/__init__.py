"""`cnn-tf bench-client`: how many requests a server answers, and how soon.

requests      what is sent, encoded once
load          sends it, in a closed or an open loop
report        percentiles, as a table and as JSON;  figure  as a picture
command       the command
"""
