"""A TensorFlow Serving server in Python: `python -m serving.server --model_name=m --model_base_path=/models/m`.

The way of a request, from outside to inside:

    calls          what a service is to those who carry requests: bytes in, bytes out, with deadline and cancellation
    transports     carry gRPC: http2 (ours), grpcio (Google's)
    rest           HTTP: JSON in, JSON out
    security       the gate: TLS, tokens, limits, sizes of pictures
    inference      Predict, GetModelMetadata and what gRPC clients ask of models; examples: Classify, Regress, MultiInference
    model_service  states of versions, other models while the server runs
    health, reflection, profiler   the services beside
    manager        all models: lends their versions to requests (lending), follows new configurations
    servable       one loaded version: its signatures, and what they want
    batching       joins concurrent requests into one run
    engine         a SavedModel or a TFLite model as functions on arrays, as fast as the machine makes them

The life of a model:

    storage        which versions lie in a base path; completeness and bundle: whether all their files are there
    config         which models to serve; policies and labels of their versions; config_polling looks for it again and again
    model          one model: loads, swaps and unloads its versions (versions, retries, memory)
    loading        a version's folder to a servable that is warm (warmup, session_config)

What is told of it:

    observer       counts, logs and traces each request: metrics, request_log, tracing
    overview       the state of everything at a moment, for metrics and live, which is the view on a terminal

flags and command_line say what is wanted, check tries it, server ties all together, main runs it until SIGTERM, and process
starts it in a process of its own. text_proto reads the original's text files.
"""
