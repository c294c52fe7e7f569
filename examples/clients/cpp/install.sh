#!/bin/sh
# Installs what the client is built with on Debian and Ubuntu.
set -e
packages="cmake g++ libgrpc++-dev libprotobuf-dev nlohmann-json3-dev protobuf-compiler-grpc"
if ! dpkg --status $packages >/dev/null 2>&1; then
  apt-get update --quiet
  apt-get install --quiet --yes --no-install-recommends $packages
fi
