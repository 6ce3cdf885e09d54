#!/bin/bash
# As in tensorflow/serving, but for `exec`. Without it bash stays process 1 and SIGTERM reaches nobody, which makes no
# difference there: TensorFlow Serving does not handle it. Ours does.
exec tensorflow_model_server --port=8500 --rest_api_port=8501 \
  --model_name="${MODEL_NAME}" --model_base_path="${MODEL_BASE_PATH}/${MODEL_NAME}" \
  "$@"
