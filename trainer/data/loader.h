#pragma once

#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

#include "models/experiment/epoch.h"
#include "models/experiment/training.h"
#include "trainer/data/dataset.h"

namespace vitsim {

/// One micro-batch of one rank: as the loader makes it, images are bytes in the host's memory; as
/// `BatchFeed` hands it to the model they are normalised, on the device.
struct Batch {
  at::Tensor images;  // n x channels x height x width
  at::Tensor labels;  // n, int64
};

/// How much of the machine loading may take.
struct LoaderOptions {
  std::int64_t workers = 2;  // threads that decode and resize, at least 1
  std::int64_t ahead = 4;    // micro-batches made and not yet taken, at most; at least 1
  bool pin_memory = false;   // page-locked, so that copies to a GPU can overlap (needs CUDA)
};

/// The micro-batches of one rank in one epoch, made in the background, handed out in order.
class EpochLoader {
 public:
  EpochLoader() = default;
  EpochLoader(const EpochLoader&) = delete;
  EpochLoader& operator=(const EpochLoader&) = delete;
  virtual ~EpochLoader() = default;

  /// The next micro-batch; waits until it is made, and that wait is what `data_load` measures.
  /// Throws what its making threw. Calling it with nothing left is an error of the program.
  virtual Batch next() = 0;

  /// True where `next` would not wait.
  [[nodiscard]] virtual bool is_ready() const = 0;

  /// Micro-batches not handed out yet.
  [[nodiscard]] virtual std::int64_t left() const = 0;
};

/// Starts to load the micro-batches of `rank` from step `first_step` of `epoch` on. Order, padding
/// and crops depend on (seed, epoch, index) alone: not on threads, nor on where the epoch started.
/// With equal micro-batches the order is that of PyTorch's DistributedSampler with the same seed.
/// `dataset` must outlive the loader; `plan` is that of subset_samples(samples, fraction).
std::unique_ptr<EpochLoader> start_epoch(const Dataset& dataset,
                                         const TrainingSpec& training,
                                         const EpochPlan& plan,
                                         std::int64_t rank,
                                         std::int64_t world,
                                         std::int64_t epoch,
                                         std::int64_t first_step,
                                         const LoaderOptions& options = {});

/// Starts to load every sample of `dataset` once, in index order, not augmented, in batches of
/// `batch`: of `world` ranks, rank r has the samples r, r + world, ...; the number of batches can
/// differ by one between ranks, and be 0.
std::unique_ptr<EpochLoader> start_evaluation(const Dataset& dataset,
                                              const TrainingSpec& training,
                                              std::int64_t batch,
                                              std::int64_t rank,
                                              std::int64_t world,
                                              const LoaderOptions& options = {});

}  // namespace vitsim
