#include "trainer/measure/network_measurement.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <mpi.h>

#include "models/distribution.h"
#include "models/document/quantity_text.h"
#include "trainer/measure/training_bench.h"

namespace vitsim {

namespace {

constexpr std::int64_t kSmallest = 4096;
constexpr std::int64_t kLargest = 512LL << 20;
constexpr std::int64_t kGrowth = 4;
constexpr int kNetworkWarmUp = 2;
constexpr int kNetworkLeastCalls = 4;
constexpr int kNetworkMostCalls = 100;
constexpr std::int64_t kOtherBytes = 64 << 20;  // more than a core's share of any cache
constexpr double kNetworkNarrow = 0.02;
// What takes 16 times as long at most: small messages are all latency.
constexpr std::int64_t kPairSizes[] = {64, 64LL << 10, 1LL << 20, 16LL << 20};
constexpr double kPairGrowth = 16;

at::Tensor buffer_on(Device& device, std::int64_t bytes) {
  return at::zeros({bytes / 4},
                   at::TensorOptions().dtype(at::kFloat).device(device.torch_device()));
}

// One AllReduce of all ranks, from a common start. Seconds on this rank. `others`: what a step
// touches besides; on a CPU the sum finds cold caches and idle threads, as after a backward pass.
double all_reduce_once(Bench& bench, const at::Tensor& buffer, at::Tensor& others) {
  std::vector<at::Tensor> tensors = {buffer};
  if (bench.device().torch_device().is_cpu()) {
    others.add_(1);
  }
  bench.communication().barrier();
  const std::int64_t begin = host_nanoseconds();
  bench.communication().group()->allreduce(tensors)->wait();
  bench.device().synchronize();
  return static_cast<double>(host_nanoseconds() - begin) * 1e-9;
}

// The slowest rank's time of each call.
std::vector<double> slowest_of(Bench& bench, const std::vector<double>& mine) {
  std::vector<std::int64_t> nanoseconds;
  nanoseconds.reserve(mine.size());
  for (const double seconds : mine) {
    nanoseconds.push_back(static_cast<std::int64_t>(seconds * 1e9));
  }
  std::vector<double> slowest(mine.size(), 0);
  for (const auto& rank : bench.communication().gather(nanoseconds)) {
    for (std::size_t i = 0; i < slowest.size(); ++i) {
      slowest[i] = std::max(slowest[i], static_cast<double>(rank[i]) * 1e-9);
    }
  }
  return slowest;
}

// Calls `once` on all ranks until its median is known or its time is over.
template <class Once>
std::vector<double> repeat(Bench& bench, double until_s, Once once) {
  std::vector<double> seconds;
  bool again = true;
  while (again) {
    seconds.push_back(once());
    const auto counted =
        std::span(seconds).subspan(std::min<std::size_t>(kNetworkWarmUp, seconds.size()));
    const bool enough =
        counted.size() >= kNetworkLeastCalls &&
        (bench.budget().elapsed_s() + seconds.back() > until_s ||
         counted.size() >= kNetworkMostCalls || median_uncertainty(counted) < kNetworkNarrow);
    const bool too_slow = bench.budget().elapsed_s() > until_s && !counted.empty();
    again = bench.agree(!enough && !too_slow);
  }
  return seconds;
}

}  // namespace

void measure_all_reduce(Bench& bench, const std::string& link, double until_s) {
  const MpiSession& session = bench.session();
  at::Tensor others = buffer_on(bench.device(), kOtherBytes);
  double last_s = 0;
  for (std::int64_t bytes = kSmallest; bytes <= kLargest; bytes *= kGrowth) {
    const double left_s = until_s - bench.budget().elapsed_s();
    const bool fits = bench.agree(
        last_s * static_cast<double>(kGrowth) * (kNetworkWarmUp + kNetworkLeastCalls) < left_s);
    const auto memory = bench.device().memory_bytes();
    const bool holds =
        bench.largest(memory && 8 * bytes > *memory ? 1 : 0) == 0;  // with the ring's own buffers
    if (!fits || !holds) {
      bench.could_not(fmt::format("not measured: AllReduce of {} and more: {}",
                                  human(Bytes(static_cast<double>(bytes))),
                                  fits ? "too little memory" : "no time"));
      break;
    }
    bench.progress(fmt::format("AllReduce of {} among {} ranks",
                               human(Bytes(static_cast<double>(bytes))),
                               session.size()));
    const at::Tensor buffer = buffer_on(bench.device(), bytes);
    const std::size_t first_sample = bench.measured.samples.size();
    bench.begin_timing();
    const double share_s = bench.budget().elapsed_s() + left_s / 4;
    std::vector<double> seconds = slowest_of(
        bench, repeat(bench, share_s, [&] { return all_reduce_once(bench, buffer, others); }));
    last_s = median(seconds);
    if (session.rank() == 0) {
      const bool equal = std::ranges::count(bench.names(), bench.name()) == session.size();
      bench.measured.samples.push_back(
          {.series = CollectiveSeries{.bytes = bytes,
                                      .ranks = session.size(),
                                      .one_node = bench.one_node(),
                                      .link = link,
                                      .gpu = equal ? bench.name() : std::string(),
                                      .seconds = std::move(seconds)},
           .warm_up = kNetworkWarmUp});
    }
    bench.end_timing(first_sample);
  }
  bench.keep();
}

void measure_point_to_point(Bench& bench, const std::string& link, double until_s) {
  const MpiSession& session = bench.session();
  const int size = session.size();
  const std::vector<std::string> hosts = bench.communication().gather_text(session.host());
  std::vector<std::byte> buffer(static_cast<std::size_t>(*std::ranges::max_element(kPairSizes)));
  int pairs_left = size * (size - 1) / 2;
  int pairs_missed = 0;
  for (int a = 0; a < size; ++a) {
    for (int b = a + 1; b < size; ++b, --pairs_left) {
      const double left_s = until_s - bench.budget().elapsed_s();
      if (!bench.agree(left_s > 0)) {
        ++pairs_missed;
        continue;
      }
      bench.progress(fmt::format("messages between ranks {} and {}", a, b));
      const double pair_until_s = bench.budget().elapsed_s() + left_s / pairs_left;
      const bool takes_part = session.rank() == a || session.rank() == b;
      const int other = session.rank() == a ? b : a;
      double last_s = 0;
      for (const std::int64_t bytes : kPairSizes) {
        const double pair_left_s = pair_until_s - bench.budget().elapsed_s();
        if (!bench.agree(last_s * kPairGrowth * (kNetworkWarmUp + kNetworkLeastCalls) <
                         std::max(pair_left_s, 0.25 * left_s / pairs_left))) {
          bench.could_not(
              fmt::format("not measured: messages of {} and more between ranks {} and "
                          "{}: no time",
                          human(Bytes(static_cast<double>(bytes))),
                          a,
                          b));
          break;
        }
        const std::size_t first_sample = bench.measured.samples.size();
        bench.begin_timing();
        const double share_s = bench.budget().elapsed_s() + pair_left_s / 2;
        std::vector<double> seconds = slowest_of(
            bench, repeat(bench, share_s, [&] {
              bench.communication().barrier();
              if (!takes_part) {
                return 0.0;
              }
              const std::int64_t begin = host_nanoseconds();
              bench.communication().ping_pong(
                  buffer.data(), static_cast<std::size_t>(bytes), other, session.rank() == a);
              return static_cast<double>(host_nanoseconds() - begin) * 0.5e-9;
            }));
        last_s = bench.largest(median(seconds));
        if (session.rank() == 0) {
          const auto from = static_cast<std::size_t>(a);
          const auto to = static_cast<std::size_t>(b);
          bench.measured.samples.push_back(
              {.series = PointToPointSeries{.bytes = bytes,
                                            .link = link,
                                            .from = bench.names()[from],
                                            .to = bench.names()[to],
                                            .from_host = hosts[from],
                                            .to_host = hosts[to],
                                            .from_rank = a,
                                            .to_rank = b,
                                            .one_node = bench.one_node(),
                                            .seconds = std::move(seconds)},
               .warm_up = kNetworkWarmUp});
        }
        bench.end_timing(first_sample);
      }
    }
  }
  if (pairs_missed > 0) {
    bench.could_not(
        fmt::format("not measured: messages of {} pairs of ranks: no time", pairs_missed));
  }
  bench.keep();
}

void measure_overlap(Bench& bench, const TrainingSpec& training, double until_s) {
  constexpr std::int64_t kBucket = 25LL << 20;  // as DDP's
  constexpr int kMostBuckets = 64;
  constexpr int kRounds = 12;
  const auto dataset = open_dataset(training, Split::kTrain);
  TrainingBench trainer(training, *dataset, bench.device(), bench.board());
  const auto rank = static_cast<std::size_t>(bench.session().rank());
  const std::int64_t micro_batch = std::min(
      training.micro_batch[rank < training.micro_batch.size() ? rank : 0], dataset->size());
  const auto backward = [&] { return trainer.step(micro_batch).phase_s[Phase::kBackward]; };
  const at::Tensor buffer = buffer_on(bench.device(), kBucket);
  bench.progress("backward with an AllReduce beside");
  std::int64_t begin = 0;
  if (!bench.fits([&] {
        backward();
        begin = host_nanoseconds();
        backward();
      })) {
    bench.could_not(fmt::format(
        "not measured: how much communication slows compute: no memory for micro-batch {}",
        micro_batch));
    return;
  }
  const double step_s = bench.largest(static_cast<double>(host_nanoseconds() - begin) * 1e-9);
  at::Tensor others = buffer_on(bench.device(), kOtherBytes);
  const double bucket_s = bench.largest(all_reduce_once(bench, buffer, others));
  if (!bench.agree(kNetworkLeastCalls * (2 * step_s + bucket_s) <
                   until_s - bench.budget().elapsed_s())) {
    bench.could_not("not measured: how much communication slows compute: no time");
    return;
  }
  // Enough to outlast forward and backward of the slowest rank.
  const int buckets =
      static_cast<int>(std::clamp(std::ceil(2 * step_s / bucket_s), 1.0, double{kMostBuckets}));
  std::vector<double> alone;
  std::vector<double> beside;
  const std::size_t first_sample = bench.measured.samples.size();
  bench.begin_timing();
  bool again = true;
  while (again) {
    bench.communication().barrier();
    alone.push_back(backward());
    bench.communication().barrier();
    std::vector<c10::intrusive_ptr<c10d::Work>> running;
    for (int i = 0; i < buckets; ++i) {
      std::vector<at::Tensor> tensors = {buffer};
      running.push_back(bench.communication().group()->allreduce(tensors));
    }
    beside.push_back(backward());
    for (const auto& work : running) {
      work->wait();
    }
    bench.device().synchronize();
    again = bench.agree(bench.budget().elapsed_s() < until_s && alone.size() < kRounds);
  }
  using State = OverlapSeries::State;
  for (const auto& [state, seconds] :
       {std::pair(State::kAlone, alone), std::pair(State::kBeside, beside)}) {
    bench.measured.samples.push_back({.series = OverlapSeries{.gpu = bench.name(),
                                                              .state = state,
                                                              .rank = bench.session().rank(),
                                                              .ranks = bench.session().size(),
                                                              .batch = micro_batch,
                                                              .bytes = kBucket,
                                                              .precision = training.precision,
                                                              .seconds = seconds}});
  }
  bench.end_timing(first_sample);
  bench.keep();
}

}  // namespace vitsim
