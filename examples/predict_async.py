"""What do pictures show? Asks for many at once. python examples/predict_async.py localhost:8500 fashion_mnist *.png"""

import asyncio
import sys

from serving.client import AsyncPredictClient, Refused, ServingError


async def main(address: str, model: str, pictures: list[str]) -> None:
    names = iter(pictures)
    async with AsyncPredictClient(address, model, timeout=5) as client:
        # In the pictures' order. An asynchronous iterable does as well, such as a queue of uploads.
        async for answer in client.map(pictures, batch_size=32, in_flight=4):
            told = answer.reason if isinstance(answer, Refused) else f"{answer.label} ({answer.probability:.1%})"
            print(f"{next(names)}: {told}")


try:
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
except ServingError as error:
    sys.exit(f"{error.code.name}: {error.message}")
