package example;

import com.google.gson.Gson;
import headgate.v1.PredictRequest;
import headgate.v1.PredictResponse;
import headgate.v1.PredictionServiceGrpc;
import headgate.v1.StreamPredictResponse;
import headgate.v1.Tensor;
import io.grpc.Channel;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/** Asks a headgate server about rows of numbers: first all of them at once, then one by one over a stream. */
public final class Predict {
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  public static void main(String[] arguments) {
    int first = arguments.length > 0 && arguments[0].equals("--timeout-ms") ? 2 : 0;
    if (arguments.length != first + 2) {
      System.err.println("usage: predict [--timeout-ms N] HOST:PORT MODEL < rows.json");
      System.exit(1);
    }
    Duration timeout = Duration.ofMillis(first > 0 ? Long.parseLong(arguments[1]) : 10_000);
    float[][] rows = new Gson().fromJson(new InputStreamReader(System.in, StandardCharsets.UTF_8), float[][].class);
    // A program that lives for long makes one channel and keeps it; threads share it.
    Channel channel = Grpc.newChannelBuilder(arguments[first], InsecureChannelCredentials.create()).build();
    try {
      predict(channel, arguments[first + 1], rows, timeout);
      streamPredict(channel, arguments[first + 1], rows, timeout);
      System.exit(0);
    } catch (StatusRuntimeException | CompletionException error) {
      System.exit(report(Status.fromThrowable(error)));
    }
  }

  private static void predict(Channel channel, String model, float[][] rows, Duration timeout) {
    var stub = PredictionServiceGrpc.newBlockingStub(channel).withDeadlineAfter(timeout);
    show("unary", 0, stub.predict(request(model, rows)));
  }

  private static void streamPredict(Channel channel, String model, float[][] rows, Duration timeout) {
    var done = new CompletableFuture<Void>();
    var answers = new StreamObserver<StreamPredictResponse>() {
      private int row = 0;

      @Override
      public void onNext(StreamPredictResponse answer) {
        if (answer.hasError()) {
          // The other messages of the stream are answered all the same; a program that wants them goes on.
          Status status = Status.fromCodeValue(answer.getError().getCode());
          onError(status.withDescription(answer.getError().getMessage()).asRuntimeException());
        } else if (!done.isDone()) {
          show("stream", row++, answer.getResponse());
        }
      }

      @Override
      public void onError(Throwable error) {
        done.completeExceptionally(error);
      }

      @Override
      public void onCompleted() {
        done.complete(null);
      }
    };
    var requests = PredictionServiceGrpc.newStub(channel).withDeadlineAfter(timeout).streamPredict(answers);
    for (float[] row : rows) {
      requests.onNext(request(model, row));
    }
    requests.onCompleted();
    done.join();
  }

  /** The model has a single input [rows, features], which needs no name. */
  private static PredictRequest request(String model, float[]... rows) {
    var tensor = Tensor.newBuilder().addShape(rows.length).addShape(rows.length > 0 ? rows[0].length : 0);
    for (float[] row : rows) {
      for (float value : row) {
        tensor.addFloats(value);
      }
    }
    return PredictRequest.newBuilder().setModel(model).addInputs(tensor).build();
  }

  /**
   * Answers are columns: a value for each row, or k values for each. Those of `invalid_rows`, which is normally empty,
   * are NaN and empty labels.
   */
  private static void show(String call, int firstRow, PredictResponse response) {
    for (var prediction : response.getPredictionsList()) {
      String head = prediction.getHead();
      switch (prediction.getColumnsCase()) {
        case MULTICLASS -> {
          var columns = prediction.getMulticlass();
          for (int i = 0; i < columns.getLabelsCount(); i += columns.getK()) {
            print(call, head, firstRow + i / columns.getK(), columns.getLabels(i), decimal(columns.getScores(i)));
          }
        }
        case BINARY -> {
          var columns = prediction.getBinary();
          for (int i = 0; i < columns.getLabelsCount(); i++) {
            print(call, head, firstRow + i, columns.getLabels(i), decimal(columns.getProbabilities(i)));
          }
        }
        case REGRESSION -> {
          var columns = prediction.getRegression();
          for (int i = 0; i < columns.getValuesCount(); i++) {
            // There is none, one for all targets, or one a target.
            String unit = columns.getUnitsCount() > 0 ? columns.getUnits(i % columns.getUnitsCount()) : "";
            print(call, head, firstRow + i / columns.getTargets(), decimal(columns.getValues(i)), unit);
          }
        }
        default ->
            System.err.println("head " + head + " is of a kind that is not shown here: " + prediction.getColumnsCase());
      }
    }
  }

  private static void print(String call, String head, int row, String label, String score) {
    OUT.println(String.join("\t", call, head, String.valueOf(row), label, score));
  }

  private static String decimal(double value) {
    return String.format(Locale.ROOT, "%.6f", value);
  }

  private static int report(Status status) {
    return switch (status.getCode()) {
      // The same request would fail again: mend it.
      case INVALID_ARGUMENT, NOT_FOUND -> report(2, "bad input", status);
      // Try again, after a pause that doubles each time and is never quite the same: a prediction changes nothing.
      case RESOURCE_EXHAUSTED, UNAVAILABLE -> report(3, "overloaded, try again later", status);
      // Nobody waits for the answer any more: give up, or do without it.
      case DEADLINE_EXCEEDED -> report(4, "deadline", status);
      default -> report(1, status.getCode().name(), status);
    };
  }

  private static int report(int exitCode, String what, Status status) {
    System.err.println(what + ": " + status.getDescription());
    return exitCode;
  }
}
