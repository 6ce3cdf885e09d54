"""FastAPI on uvicorn: raw bytes in and out, the model in the thread pool; no batching."""

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from model import Model, arguments, decode

version, port = arguments()
app = FastAPI()
model = Model(version)


@app.post("/predict")
async def predict(request: Request) -> Response:
    images = decode(await request.body())[None]
    answer = await run_in_threadpool(model, images)
    return Response(answer.tobytes(), media_type="application/octet-stream")


uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")
