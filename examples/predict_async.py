"""What do pictures show? Asks for all at once. python examples/predict_async.py localhost:8500 fashion_mnist *.png"""

import asyncio
import sys

from serving.client import AsyncPredictClient, ServingError

IN_FLIGHT = 32


async def main(address: str, model: str, pictures: list[str]) -> None:
    free = asyncio.Semaphore(IN_FLIGHT)
    async with AsyncPredictClient(address, model, timeout=5) as client:

        async def ask(picture: str) -> str:
            async with free:
                try:
                    prediction = await client.predict(picture)
                except ServingError as error:
                    return f"{picture}: {error.code.name}: {error.message}"
                return f"{picture}: {prediction.label} ({prediction.probability:.1%})"

        for answer in asyncio.as_completed([ask(picture) for picture in pictures]):
            print(await answer)


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
