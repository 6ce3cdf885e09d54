"""Who may use the server, and how much of it.

tls      the keys of --ssl_config_file, checked before a port opens
tokens   bearer tokens from --auth_token_file
limits   how many requests a client may send, and have under way
pixels   refuses pictures that would fill the memory when they are decoded
gate     all of it before each request, of gRPC and of REST
"""
