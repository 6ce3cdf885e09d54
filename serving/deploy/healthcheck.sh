#!/bin/bash
# Whether every model of a models.config has an AVAILABLE version: exit code 0; else 1, and a line that says what is wrong.
# Asks the REST port. Needs bash only: TensorFlow Serving's image has neither Python nor curl.
# Environment: HEALTH_HOST, HEALTH_PORT, HEALTH_CONFIG, and HEALTH_SECONDS, which all models together may take.
set -u
trap '' PIPE
host=${HEALTH_HOST:-127.0.0.1}
port=${HEALTH_PORT:-8501}
config=${HEALTH_CONFIG:-/models/models.config}
seconds=${HEALTH_SECONDS:-4}

unhealthy() {
  echo "unhealthy: $*"
  exit 1
}

# Every name: "..." outside of comments, a line each.
model_names() {
  local line name="(^|[[:space:]{},;])name[[:space:]]*:[[:space:]]*[\"']([^\"']+)(.*)"
  while IFS= read -r line || [[ -n $line ]]; do
    line=${line%%#*}
    while [[ $line =~ $name ]]; do
      echo "${BASH_REMATCH[2]}"
      line=${BASH_REMATCH[3]}
    done
  done < "$config"
}

# Whether the answer about model $1, read until the server closes or the time is over, says AVAILABLE.
is_available() {
  local line answer=
  printf 'GET /v1/models/%s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n' "$1" "$host" "$port" >&3
  while ((SECONDS < seconds)); do
    IFS= read -r -t $((seconds - SECONDS)) -u 3 line || [[ -n $line ]] || break
    answer+=$line
    [[ $answer == *'"AVAILABLE"'* ]] && return 0
  done
  return 1
}

[[ -r $config ]] || unhealthy "cannot read $config"
mapfile -t models < <(model_names)
((${#models[@]} > 0)) || unhealthy "no model is named in $config"
for model in "${models[@]}"; do
  { exec 3<> "/dev/tcp/$host/$port"; } 2> /dev/null || unhealthy "nobody answers on $host:$port"
  is_available "$model" || unhealthy "no version of model $model is AVAILABLE"
  exec 3>&-
done
echo "healthy: ${models[*]}"
