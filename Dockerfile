# The serving image: TensorFlow Serving with the exported models in it.
#
#   docker build -t cnn-tf-serving .
#   docker run --rm -p 8500:8500 -p 8501:8501 cnn-tf-serving
#
# Needs models/models.config and models/NAME/VERSION/, as `cnn-tf export` writes them. Other models need no new image:
# mount such a folder, readable for everyone, over the one in the image with -v "$PWD/models:/models:ro".
# Arguments after the image's name replace CMD; the base image's entry point puts --port=8500 --rest_api_port=8501 before.
# TensorFlow Serving does not handle SIGTERM: `docker stop` waits 10 s and kills it; with `docker run --init` it ends at once.
ARG SERVING_IMAGE=tensorflow/serving:2.20.0
FROM ${SERVING_IMAGE}

ARG VERSION=dev
LABEL org.opencontainers.image.title="cnn-tf-serving" \
      org.opencontainers.image.description="Image classifiers behind TensorFlow Serving: gRPC on 8500, REST on 8501." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"

# Owned by root, so that the server cannot change them; readable for every user id, however strict the builder's umask.
COPY --chmod=0755 serving/deploy/healthcheck.sh /usr/bin/serving_healthcheck.sh
COPY --chmod=0755 serving/deploy/batching.config serving/deploy/monitoring.config /config/
COPY --chmod=0755 models/ /models/

# A number: Kubernetes cannot tell that a name is not root.
USER 10001:10001
EXPOSE 8500 8501

# Models are loaded within the start period; a check answers in milliseconds and gives up after 4 s by itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/bin/serving_healthcheck.sh"]

# Without the second flag, a config with labels is refused at the start, when no version is loaded yet.
CMD ["--model_config_file=/models/models.config", \
     "--allow_version_labels_for_unavailable_models=true", \
     "--enable_batching=true", \
     "--batching_parameters_file=/config/batching.config", \
     "--monitoring_config_file=/config/monitoring.config"]
