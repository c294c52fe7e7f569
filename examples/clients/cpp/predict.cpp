// Asks a headgate server about rows of numbers: first all of them at once, then one by one over a stream.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <exception>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "headgate/v1/prediction_service.grpc.pb.h"

namespace {

using headgate::v1::PredictionService;
using headgate::v1::PredictRequest;
using headgate::v1::PredictResponse;
using headgate::v1::StreamPredictResponse;
using Rows = std::vector<std::vector<float>>;
using Milliseconds = std::chrono::milliseconds;

// The model has a single input [rows, features], which needs no name.
PredictRequest Request(const std::string& model, const Rows& rows) {
  PredictRequest request;
  request.set_model(model);
  auto* tensor = request.add_inputs();
  tensor->add_shape(rows.size());
  tensor->add_shape(rows.empty() ? 0 : rows.front().size());
  for (const auto& row : rows) tensor->mutable_floats()->Add(row.begin(), row.end());
  return request;
}

// Answers are columns: a value for each row, or k values for each. In `invalid_rows`, normally none, they are NaN and
// empty labels.
void Show(const char* call, int first_row, const PredictResponse& response) {
  for (const auto& prediction : response.predictions()) {
    const auto line = [&](int row) -> std::ostream& {
      return std::cout << call << '\t' << prediction.head() << '\t' << first_row + row << '\t';
    };
    if (prediction.has_multiclass()) {
      const auto& columns = prediction.multiclass();
      const int k = columns.k();
      for (int i = 0; i < columns.labels_size(); i += k)
        line(i / k) << columns.labels(i) << '\t' << columns.scores(i) << '\n';
    } else if (prediction.has_binary()) {
      const auto& columns = prediction.binary();
      for (int i = 0; i < columns.labels_size(); ++i)
        line(i) << columns.labels(i) << '\t' << columns.probabilities(i) << '\n';
    } else if (prediction.has_regression()) {
      const auto& columns = prediction.regression();
      for (int i = 0; i < columns.values_size(); ++i) {
        // There is none, one for all targets, or one a target.
        const int units = columns.units_size();
        line(i / columns.targets()) << columns.values(i) << '\t' << (units ? columns.units(i % units) : "") << '\n';
      }
    } else {
      std::cerr << "head " << prediction.head() << " is of a kind that is not shown here\n";
    }
  }
}

grpc::Status Predict(PredictionService::Stub& stub, const std::string& model, const Rows& rows, Milliseconds timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  PredictResponse response;
  const grpc::Status status = stub.Predict(&context, Request(model, rows), &response);
  if (status.ok()) Show("unary", 0, response);
  return status;
}

grpc::Status StreamPredict(PredictionService::Stub& stub, const std::string& model, const Rows& rows,
                           Milliseconds timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  const auto stream = stub.StreamPredict(&context);
  // Requests go on while answers come, so that neither side waits for the other. If the stream breaks, Finish says why.
  std::thread writer([&] {
    for (const auto& row : rows) {
      if (!stream->Write(Request(model, {row}))) return;
    }
    stream->WritesDone();
  });
  grpc::Status failed;
  StreamPredictResponse answer;
  for (int row = 0; stream->Read(&answer); ++row) {
    // The other messages of the stream are answered all the same; a program that wants them goes on.
    if (answer.has_error()) {
      failed = grpc::Status(static_cast<grpc::StatusCode>(answer.error().code()), answer.error().message());
      context.TryCancel();
      break;
    }
    Show("stream", row, answer.response());
  }
  writer.join();
  const grpc::Status status = stream->Finish();
  return failed.ok() ? status : failed;
}

int Report(const grpc::Status& status) {
  const auto fail = [&](const std::string& what, int exit_code) {
    std::cerr << what << ": " << status.error_message() << '\n';
    return exit_code;
  };
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return 0;
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
      // The same request would fail again: mend it.
      return fail("bad input", 2);
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::UNAVAILABLE:
      // It was not run: try again, after a pause that doubles each time and is never quite the same.
      return fail("overloaded, try again later", 3);
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      // Nobody waits for the answer any more: give up, or do without it.
      return fail("deadline", 4);
    default:
      return fail("status " + std::to_string(status.error_code()), 1);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  Milliseconds timeout(10'000);
  if (arguments.size() == 4 && arguments[0] == "--timeout-ms") {
    timeout = Milliseconds(std::stol(arguments[1]));
    arguments.erase(arguments.begin(), arguments.begin() + 2);
  }
  if (arguments.size() != 2) {
    std::cerr << "usage: predict [--timeout-ms N] HOST:PORT MODEL < rows.json\n";
    return 1;
  }
  const auto rows = nlohmann::json::parse(std::cin).get<Rows>();
  // A program that lives for long makes one channel and keeps it; threads share it and the stub.
  const auto stub = PredictionService::NewStub(grpc::CreateChannel(arguments[0], grpc::InsecureChannelCredentials()));
  std::cout << std::fixed << std::setprecision(6);
  grpc::Status status = Predict(*stub, arguments[1], rows, timeout);
  if (status.ok()) status = StreamPredict(*stub, arguments[1], rows, timeout);
  return Report(status);
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
