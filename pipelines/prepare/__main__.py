"""The same as `cnn-tf prepare`: `python -m pipelines.prepare`."""

from pipelines import commands, data_commands

commands.run_stage(data_commands.prepare)
