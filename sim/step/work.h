#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/experiment/training.h"
#include "models/phase.h"
#include "models/report/timeline.h"
#include "sim/engine/clock.h"
#include "sim/engine/network.h"

namespace vitsim {

/// What one micro-batch costs one rank. The loader works ahead: `data_load` is what the compute
/// stream waits for it.
struct MicroBatchWork {
  Tick data_load = 0;
  Tick forward = 0;
  Tick backward = 0;
};

/// What one step costs one rank: its micro-batches in order (none in a short last step that has
/// nothing left for it), then the optimizer and what else the step takes.
struct RankWork {
  std::span<const MicroBatchWork> micro_batches;
  Tick optimizer = 0;  // ZeRO-1: of the rank's shard
  Tick other = 0;
};

/// Gradients that are reduced together, ready after this share of the last backward.
struct SyncBucket {
  std::int64_t bytes = 0;
  double ready_share = 1;
};

/// How gradients meet. `ddp`: buckets while backward runs, one after another on a communication
/// stream. `deepspeed-zero-0`: the same buckets after backward, blocking. `deepspeed-zero-1`:
/// reduce-scatters after backward, optimizer, all-gathers. One rank: nothing.
struct SyncPlan {
  GradientSync mode = GradientSync::kDdp;
  std::vector<SyncBucket> buckets;  // shares rise to 1 for ddp; without bytes: left out
  AllReduceAlgorithm algorithm = AllReduceAlgorithm::kRing;
  Tick collective_overhead = 0;          // before each call, on the communication stream
  std::vector<double> overlap_slowdown;  // of backward while communication runs; by position, or
                                         // empty: none
};

/// DeepSpeed's flat reduction: one bucket per 500 million elements (allreduce_bucket_size).
SyncPlan deepspeed_plan(GradientSync mode, std::int64_t elements, std::int64_t bytes_per_element);

/// A stretch of time in which a rank computes `factor` times slower; infinity: it stands still.
struct SlowInterval {
  Tick from = 0;
  Tick to = 0;
  double factor = 1;
};

/// From `at` on a link has another bandwidth.
struct LinkChange {
  Tick at = 0;
  LinkId link = 0;
  BytesPerSecond bandwidth;
};

/// One stretch of a step, for timelines.
struct StepSpan {
  std::uint32_t position = 0;
  Stream stream = Stream::kCompute;
  Phase phase = Phase::kForward;
  Tick begin = 0;
  Tick end = 0;
  std::int64_t bytes = 0;
};

/// What a step came to, by position. Between `ready` and `sync_end` a rank waits for its gradients:
/// that time is `exposed` + `wait`. A collective's last part, as long as it takes when everybody is
/// ready at once, counts as communication; what comes before is waiting for others.
struct StepOutcome {
  std::vector<Tick> ready;     // backward is over: ready for the last reduction
  std::vector<Tick> sync_end;  // all gradients reduced
  std::vector<Tick> end;       // start of the next step
  std::vector<Tick> busy;      // communication, as if everybody were ready at once
  std::vector<Tick> exposed;   // communication not hidden behind compute, ZeRO-1's gathers included
  std::vector<Tick> wait;      // for others

  void resize(std::size_t positions) {
    for (auto* column : {&ready, &sync_end, &end, &busy, &exposed, &wait}) {
      column->assign(positions, 0);
    }
  }
};

}  // namespace vitsim
