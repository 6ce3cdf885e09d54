"""gRPC settings that client and server share."""

# gRPC's default limit for a received message is 4 MiB, less than seven 224x224x3 float32 pictures.
# -1 lifts it to what a protobuf message can hold at most: 2 GiB.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
