"""Attacks on a running server: random and hostile requests, while a good client beside checks that it is still served well.

python -m benchmarks.abuse [--requests N] [--only NAME,NAME]

An attack is a function of a `Victim`; it yields `Finding`s. tests/serving/test_abuse.py runs all of them in a small form.
"""
