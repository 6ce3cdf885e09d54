"""What happens to data and models, a stage a file: prepare, train, evaluate, export.

A stage reads a folder and writes a folder, complete or not at all, so each can be run alone, again, or elsewhere.
"""
