"""What do pictures show? Asks for many at once. python examples/predict_async.py localhost:8500 fashion_mnist *.png"""

import asyncio
import sys

from serving.client import AsyncPredictClient, Refused, ServingError


async def main(address: str, model: str, *pictures: str) -> int:
    """Tells the answers, and gives how many pictures were refused."""
    names = iter(pictures)
    refused = 0
    async with AsyncPredictClient(address, model, timeout=5) as client:
        # In the pictures' order. An asynchronous iterable does as well, such as a queue of uploads.
        async for answer in client.map(pictures, batch_size=32, in_flight=4):
            told = answer.reason if isinstance(answer, Refused) else f"{answer.label} ({answer.probability:.1%})"
            print(f"{next(names)}: {told}")
            refused += isinstance(answer, Refused)
    return refused


if len(sys.argv) < 4:
    sys.exit(__doc__)
try:
    sys.exit(asyncio.run(main(*sys.argv[1:])) > 0)
except ServingError as error:
    sys.exit(f"{error.code.name}: {error.message}")
