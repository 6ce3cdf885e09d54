"""What does a picture show? No package needed. python examples/predict_rest.py http://localhost:8501 fashion_mnist boot.png"""

import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

if len(sys.argv) != 4:
    sys.exit(__doc__)
address, model, picture = sys.argv[1:]

try:
    encoded = base64.b64encode(Path(picture).read_bytes()).decode()
except OSError as error:
    sys.exit(str(error))
question = {"signature_name": "serving_bytes", "instances": [{"b64": encoded}]}
request = urllib.request.Request(f"{address}/v1/models/{model}:predict", json.dumps(question).encode())

try:
    with urllib.request.urlopen(request, timeout=5) as response:
        (prediction,) = json.load(response)["predictions"]
except urllib.error.HTTPError as error:
    sys.exit(json.load(error)["error"])
except OSError as error:
    sys.exit(f"{address}: {error}")

for label, probability in zip(prediction["top_labels"][:3], prediction["top_scores"], strict=False):
    print(f"{probability:6.1%}  {label}")
