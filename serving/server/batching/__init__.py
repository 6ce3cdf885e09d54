"""Joins concurrent requests into one run of the model.

parameters   how large batches may be and what happens beyond that; TensorFlow Serving's files of batching parameters
request      one request, and what may be joined with it
waiting      which requests wait, in which batches, and whose turn is next
joining      many arrays into one and back, with padding
gathering    after a joint run, those who were answered are waited for
running      runs a batch; one bad request among many is found and fails alone
batcher      the threads that do it
lane         quick requests, which run in the thread that reads them
watcher      notices threads that are stuck
"""

from __future__ import annotations

from serving.server.batching.batcher import Batcher
from serving.server.batching.parameters import ADAPTIVE, ALONE, Parameters
from serving.server.batching.request import Answer, Done, Function
from serving.server.batching.running import Observer

__all__ = ["ADAPTIVE", "ALONE", "Answer", "Batcher", "Done", "Function", "Observer", "Parameters"]
