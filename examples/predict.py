"""What does a picture show? python examples/predict.py localhost:8500 fashion_mnist boot.png"""

import sys

from serving.client import PredictClient, ServingError

if len(sys.argv) != 4:
    sys.exit(__doc__)
address, model, picture = sys.argv[1:]

with PredictClient(address, model, timeout=5) as client:
    try:
        prediction = client.predict(picture)
    except ServingError as error:
        sys.exit(f"{error.code.name}: {error.message}")
    except OSError as error:
        sys.exit(str(error))

for label, probability in prediction.top(3):
    print(f"{probability:6.1%}  {label}")
