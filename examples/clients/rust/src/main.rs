//! Asks a headgate server about rows of numbers: first all of them at once, then one by one over a stream.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, io};

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use headgate::prediction::Columns;
use headgate::prediction_service_client::PredictionServiceClient;
use headgate::stream_predict_response::Outcome;
use headgate::{PredictRequest, PredictResponse, Tensor};

mod headgate {
    tonic::include_proto!("headgate.v1");
}

type Client = PredictionServiceClient<Channel>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&*error),
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (timeout_ms, address, model) = match &arguments[..] {
        [address, model] => (10_000, address, model),
        [flag, timeout_ms, address, model] if flag == "--timeout-ms" => (timeout_ms.parse()?, address, model),
        _ => return Err("usage: predict [--timeout-ms N] HOST:PORT MODEL < rows.json".into()),
    };
    let timeout = Duration::from_millis(timeout_ms);
    let rows: Vec<Vec<f32>> = serde_json::from_reader(io::stdin()).map_err(|error| format!("rows.json: {error}"))?;
    // A program that lives for long makes one channel and keeps it; clones of the client share it.
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    let client = PredictionServiceClient::new(channel);
    within(timeout, predict(client.clone(), model, &rows, timeout)).await?;
    within(timeout, stream_predict(client, model, &rows, timeout)).await?;
    Ok(())
}

async fn predict(mut client: Client, model: &str, rows: &[Vec<f32>], timeout: Duration) -> Result<(), Status> {
    let mut request = Request::new(predict_request(model, rows));
    request.set_timeout(timeout);
    let response = client.predict(request).await?;
    show("unary", 0, response.get_ref());
    Ok(())
}

async fn stream_predict(mut client: Client, model: &str, rows: &[Vec<f32>], timeout: Duration) -> Result<(), Status> {
    let messages: Vec<_> = rows.chunks(1).map(|row| predict_request(model, row)).collect();
    let mut request = Request::new(tokio_stream::iter(messages));
    request.set_timeout(timeout);
    let mut answers = client.stream_predict(request).await?.into_inner();
    let mut row = 0;
    while let Some(answer) = answers.message().await? {
        match answer.outcome {
            Some(Outcome::Response(response)) => show("stream", row, &response),
            // The other messages of the stream are answered all the same; a program that wants them goes on.
            Some(Outcome::Error(error)) => return Err(Status::new(error.code.into(), error.message)),
            None => return Err(Status::internal("an answer without an outcome")),
        }
        row += 1;
    }
    Ok(())
}

/// Ends a call at its deadline. `set_timeout` tells the server, but counts here only from the time when there is a
/// connection until the answer begins.
async fn within(timeout: Duration, call: impl Future<Output = Result<(), Status>>) -> Result<(), Status> {
    let over = Status::deadline_exceeded(format!("no answer within {timeout:?}"));
    tokio::time::timeout(timeout, call).await.unwrap_or(Err(over))
}

/// The model has a single input [rows, features], which needs no name.
fn predict_request(model: &str, rows: &[Vec<f32>]) -> PredictRequest {
    let shape = vec![rows.len() as i64, rows.first().map_or(0, Vec::len) as i64];
    let tensor = Tensor { shape, floats: rows.concat(), ..Default::default() };
    PredictRequest { model: model.into(), inputs: vec![tensor], ..Default::default() }
}

/// Answers are columns: a value for each row, or k values for each. In `invalid_rows`, normally none, they are NaN and
/// empty labels.
fn show(call: &str, first_row: usize, response: &PredictResponse) {
    for prediction in &response.predictions {
        let head = &prediction.head;
        let line = |row: usize, fields: String| println!("{call}\t{head}\t{}\t{fields}", first_row + row);
        match &prediction.columns {
            Some(Columns::Multiclass(columns)) => {
                let k = columns.k as usize;
                for i in (0..columns.labels.len()).step_by(k) {
                    line(i / k, format!("{}\t{:.6}", columns.labels[i], columns.scores[i]));
                }
            }
            Some(Columns::Binary(columns)) => {
                for (i, label) in columns.labels.iter().enumerate() {
                    line(i, format!("{label}\t{:.6}", columns.probabilities[i]));
                }
            }
            Some(Columns::Regression(columns)) => {
                for (i, value) in columns.values.iter().enumerate() {
                    // There is none, one for all targets, or one a target.
                    let unit = columns.units.get(i % columns.units.len().max(1)).map_or("", String::as_str);
                    line(i / columns.targets as usize, format!("{value:.6}\t{unit}"));
                }
            }
            _ => eprintln!("head {head} is of a kind that is not shown here"),
        }
    }
}

fn report(error: &(dyn Error + 'static)) -> ExitCode {
    let Some(status) = error.downcast_ref::<Status>() else {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    };
    let (what, code) = match status.code() {
        // The same request would fail again: mend it.
        Code::InvalidArgument | Code::NotFound => ("bad input", 2),
        // It was not run: try again, after a pause that doubles each time and is never quite the same.
        Code::ResourceExhausted | Code::Unavailable => ("overloaded, try again later", 3),
        // Nobody waits for the answer any more: give up, or do without it. CANCELLED is what tonic's own clock says.
        Code::DeadlineExceeded | Code::Cancelled => ("deadline", 4),
        code => {
            eprintln!("{code:?}: {}", status.message());
            return ExitCode::FAILURE;
        }
    };
    eprintln!("{what}: {}", status.message());
    ExitCode::from(code)
}
