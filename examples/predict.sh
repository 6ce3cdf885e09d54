#!/bin/sh
# What does a picture show? examples/predict.sh http://localhost:8501 fashion_mnist boot.png
set -eu
[ $# = 3 ] || { sed -n 's/^# //p' "$0" >&2; exit 2; }
address=$1 model=$2 picture=$3

encoded=$(base64 <"$picture")
printf '{"signature_name": "serving_bytes", "instances": [{"b64": "%s"}]}' "$(printf %s "$encoded" | tr -d '\n')" |
    curl --fail-with-body --silent --show-error --max-time 5 --data-binary @- "$address/v1/models/$model:predict"
