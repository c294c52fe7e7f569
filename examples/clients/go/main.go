// Predict asks a headgate server about rows of numbers: first all of them at once, then one by one over a stream.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	headgate "example.com/predict/build/headgate/v1"
)

//go:generate go build -o build/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
//go:generate -command stubs protoc -I ../../../proto --plugin=build/protoc-gen-go --plugin=build/protoc-gen-go-grpc --go_out=build --go_opt=paths=source_relative --go-grpc_out=build --go-grpc_opt=paths=source_relative
//go:generate stubs headgate/v1/head.proto headgate/v1/prediction.proto headgate/v1/prediction_service.proto headgate/v1/signature.proto headgate/v1/tensor.proto

func main() {
	timeoutMs := flag.Int("timeout-ms", 10_000, "how long a call may take")
	flag.Parse()
	if flag.NArg() != 2 {
		exit(errors.New("usage: predict [--timeout-ms N] HOST:PORT MODEL < rows.json"))
	}
	var rows [][]float32
	if err := json.NewDecoder(os.Stdin).Decode(&rows); err != nil {
		exit(fmt.Errorf("rows.json: %w", err))
	}
	// A program that lives for long makes one connection and keeps it; goroutines share it.
	connection, err := grpc.NewClient(flag.Arg(0), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		exit(err)
	}
	client, timeout := headgate.NewPredictionServiceClient(connection), time.Duration(*timeoutMs)*time.Millisecond
	if err = predict(client, flag.Arg(1), rows, timeout); err == nil {
		err = streamPredict(client, flag.Arg(1), rows, timeout)
	}
	if err != nil {
		exit(err)
	}
}

func predict(client headgate.PredictionServiceClient, model string, rows [][]float32, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	response, err := client.Predict(ctx, request(model, rows...))
	if err != nil {
		return err
	}
	show("unary", 0, response)
	return nil
}

func streamPredict(client headgate.PredictionServiceClient, model string, rows [][]float32, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	stream, err := client.StreamPredict(ctx)
	if err != nil {
		return err
	}
	// Requests go on while answers come, so that neither side waits for the other. If the stream breaks, Recv says why.
	go func() {
		for _, row := range rows {
			if stream.Send(request(model, row)) != nil {
				return
			}
		}
		stream.CloseSend()
	}()
	for row := 0; ; row++ {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// The other messages of the stream are answered all the same; a program that wants them goes on.
		if failed := answer.GetError(); failed != nil {
			return status.Error(codes.Code(failed.Code), failed.Message)
		}
		show("stream", row, answer.GetResponse())
	}
}

// The model has a single input [rows, features], which needs no name.
func request(model string, rows ...[]float32) *headgate.PredictRequest {
	tensor := &headgate.Tensor{Shape: []int64{int64(len(rows)), 0}}
	for _, row := range rows {
		tensor.Shape[1] = int64(len(row))
		tensor.Floats = append(tensor.Floats, row...)
	}
	return &headgate.PredictRequest{Model: model, Inputs: []*headgate.Tensor{tensor}}
}

// Answers are columns: a value for each row, or k values for each. Those of InvalidRows, which is normally empty, are
// NaN and empty labels.
func show(call string, firstRow int, response *headgate.PredictResponse) {
	for _, prediction := range response.Predictions {
		line := func(row int, fields string) {
			fmt.Printf("%s\t%s\t%d\t%s\n", call, prediction.Head, firstRow+row, fields)
		}
		switch columns := prediction.Columns.(type) {
		case *headgate.Prediction_Multiclass:
			c := columns.Multiclass
			for i := 0; i < len(c.Labels); i += int(c.K) {
				line(i/int(c.K), fmt.Sprintf("%s\t%.6f", c.Labels[i], c.Scores[i]))
			}
		case *headgate.Prediction_Binary:
			c := columns.Binary
			for i, label := range c.Labels {
				line(i, fmt.Sprintf("%s\t%.6f", label, c.Probabilities[i]))
			}
		case *headgate.Prediction_Regression:
			c := columns.Regression
			for i, value := range c.Values {
				unit := "" // There is none, one for all targets, or one a target.
				if len(c.Units) > 0 {
					unit = c.Units[i%len(c.Units)]
				}
				line(i/int(c.Targets), fmt.Sprintf("%.6f\t%s", value, unit))
			}
		default:
			fmt.Fprintf(os.Stderr, "head %s is of a kind that is not shown here: %T\n", prediction.Head, columns)
		}
	}
}

func exit(err error) {
	what, code := "predict", 1
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound:
		// The same request would fail again: mend it.
		what, code = "bad input", 2
	case codes.ResourceExhausted, codes.Unavailable:
		// Try again, after a pause that doubles each time and is never quite the same: a prediction changes nothing.
		what, code = "overloaded, try again later", 3
	case codes.DeadlineExceeded:
		// Nobody waits for the answer any more: give up, or do without it.
		what, code = "deadline", 4
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", what, status.Convert(err).Message())
	os.Exit(code)
}
