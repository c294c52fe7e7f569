// Asks a headgate server about rows of numbers: first all of them at once, then one by one over a stream.
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import {
  PredictionServiceClient,
  PredictRequest,
  type PredictResponse,
  type StreamPredictResponse,
} from "./stubs/headgate/v1/prediction_service.js";

async function predict(client: PredictionServiceClient, model: string, rows: number[][], timeoutMs: number) {
  const response = await new Promise<PredictResponse>((resolve, reject) =>
    client.predict(request(model, rows), new Metadata(), { deadline: Date.now() + timeoutMs }, (error, response) =>
      error ? reject(error) : resolve(response),
    ),
  );
  show("unary", 0, response);
}

async function streamPredict(client: PredictionServiceClient, model: string, rows: number[][], timeoutMs: number) {
  const stream = client.streamPredict({ deadline: Date.now() + timeoutMs });
  for (const row of rows) stream.write(request(model, [row]));
  stream.end();
  try {
    let row = 0;
    for await (const { outcome } of stream as AsyncIterable<StreamPredictResponse>) {
      // The other messages of the stream are answered all the same; a program that wants them goes on.
      if (outcome?.$case === "error") throw new MessageError(outcome.value.code, outcome.value.message);
      if (outcome?.$case === "response") show("stream", row++, outcome.value);
    }
  } finally {
    stream.cancel();
  }
}

// The model has a single input [rows, features], which needs no name.
function request(model: string, rows: number[][]) {
  const shape = [rows.length, rows[0]?.length ?? 0];
  return PredictRequest.fromPartial({ model, inputs: [{ shape, floats: rows.flat() }] });
}

// Answers are columns: a value for each row, or k values for each. Those of `invalidRows`, which is normally empty, are
// NaN and empty labels.
function show(call: string, firstRow: number, response: PredictResponse) {
  for (const { head, columns } of response.predictions) {
    const line = (row: number, ...fields: string[]) => console.log([call, head, firstRow + row, ...fields].join("\t"));
    if (columns?.$case === "multiclass") {
      const { labels, scores, k } = columns.value;
      for (let i = 0; i < labels.length; i += k) line(i / k, labels[i], scores[i].toFixed(6));
    } else if (columns?.$case === "binary") {
      const { labels, probabilities } = columns.value;
      labels.forEach((label, i) => line(i, label, probabilities[i].toFixed(6)));
    } else if (columns?.$case === "regression") {
      const { values, targets, units } = columns.value;
      // There is no unit, one for all targets, or one a target.
      values.forEach((value, i) => line(Math.floor(i / targets), value.toFixed(6), units[i % units.length] ?? ""));
    } else {
      console.error(`head ${head} is of a kind that is not shown here: ${columns?.$case}`);
    }
  }
}

class MessageError extends Error {
  constructor(readonly code: status, readonly details: string) {
    super(details);
  }
}

function report({ code, details, message }: Partial<ServiceError>) {
  switch (code) {
    case status.INVALID_ARGUMENT:
    case status.NOT_FOUND:
      // The same request would fail again: mend it.
      return fail(2, `bad input: ${details}`);
    case status.RESOURCE_EXHAUSTED:
    case status.UNAVAILABLE:
      // Try again, after a pause that doubles each time and is never quite the same: a prediction changes nothing.
      return fail(3, `overloaded, try again later: ${details}`);
    case status.DEADLINE_EXCEEDED:
      // Nobody waits for the answer any more: give up, or do without it.
      return fail(4, `deadline: ${details}`);
    default:
      return fail(1, `predict: ${message}`);
  }
}

function fail(exitCode: number, message: string) {
  console.error(message);
  process.exitCode = exitCode;
}

const { values, positionals } = parseArgs({
  options: { "timeout-ms": { type: "string", default: "10000" } },
  allowPositionals: true,
});
if (positionals.length !== 2) {
  console.error("usage: predict [--timeout-ms N] HOST:PORT MODEL < rows.json");
  process.exit(1);
}
const [address, model] = positionals;
// A program that lives for long makes one client and keeps it.
const client = new PredictionServiceClient(address, credentials.createInsecure());
try {
  const rows = JSON.parse(await text(process.stdin));
  await predict(client, model, rows, Number(values["timeout-ms"]));
  await streamPredict(client, model, rows, Number(values["timeout-ms"]));
} catch (error) {
  report(error as Partial<ServiceError>);
} finally {
  client.close();
}
