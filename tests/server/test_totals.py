"""Statistics of several workers, added up."""

from headgate.foreign import open_inference as oip
from headgate.server.totals import sum_of
from headgate.v1 import GetStatisticsResponse


def total_of(*responses):
    response_class = type(responses[0])
    return response_class.FromString(sum_of(response_class)([each.SerializeToString() for each in responses]))


class TestOpenInference:
    def test_counts_and_times_are_sums(self):
        def statistics(count):
            response = oip.ModelStatisticsResponse()
            model = response.model_stats.add(name="m", version="1", last_inference=100 - count, inference_count=count)
            model.inference_stats.success.count = count
            model.inference_stats.queue.ns = 10 * count
            return response

        (model,) = total_of(statistics(1), statistics(2), statistics(4)).model_stats
        assert (model.name, model.version, model.last_inference, model.inference_count) == ("m", "1", 99, 7)
        assert (model.inference_stats.success.count, model.inference_stats.queue.ns) == (7, 70)

    def test_sizes_that_only_some_workers_had(self):
        def statistics(**batches):
            response = oip.ModelStatisticsResponse()
            model = response.model_stats.add(name="m", version="1")
            for size, count in batches.items():
                model.batch_stats.add(batch_size=int(size[1:])).compute_infer.count = count
            return response

        total = total_of(statistics(_8=1, _1=2), statistics(_2=5, _8=3), oip.ModelStatisticsResponse())
        batches = total.model_stats[0].batch_stats
        assert [(batch.batch_size, batch.compute_infer.count) for batch in batches] == [(1, 2), (2, 5), (8, 4)]


class TestHeadgate:
    def test_calls_of_no_model(self):
        assert total_of(*(GetStatisticsResponse(expired_calls=count) for count in (1, 0, 2))).expired_calls == 3

    def test_models_versions_and_sizes(self):
        first, second = GetStatisticsResponse(), GetStatisticsResponse()
        model = first.models.add(name="b", version=2, state="STATE_READY", succeeded=3, queued=1)
        model.batches.add(rows=4, count=1, infer_ns=10)
        model = second.models.add(name="b", version=2, state="STATE_LOADING", succeeded=4, refused=1)
        model.batches.add(rows=2, count=2, infer_ns=5)
        model.batches.add(rows=4, count=3, infer_ns=20)
        second.models.add(name="b", version=1, state="STATE_READY", expired=7)
        second.models.add(name="a", version=9)
        total = total_of(first, second)
        assert [(each.name, each.version) for each in total.models] == [("a", 9), ("b", 1), ("b", 2)]
        model = total.models[2]
        # The state is that of the worker that was asked.
        assert (model.state, model.succeeded, model.refused, model.queued) == (first.models[0].state, 7, 1, 1)
        assert [(each.rows, each.count, each.infer_ns) for each in model.batches] == [(2, 2, 5), (4, 4, 30)]
