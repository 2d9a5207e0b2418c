#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include <ATen/core/Tensor.h>

#include "models/experiment/training.h"
#include "models/precision.h"
#include "trainer/data/loader.h"
#include "trainer/device.h"

namespace vitsim {

/// The loader of a training on this device: as many threads as the file asks for, two micro-batches
/// ahead for each as PyTorch's DataLoader, pinned where there is a GPU to copy to.
LoaderOptions loader_options(const LoaderSpec& loader, const Device& device);

/// A loader's micro-batches as the model takes them: on the device, normalised, in the type of the
/// precision's matrix products. They travel as bytes, a quarter of what floats would be, and are
/// normalised there. A device that copies beside its compute gets the next one while it computes.
class BatchFeed {
 public:
  /// `normalisation` is the data set's.
  BatchFeed(std::unique_ptr<EpochLoader> loader,
            const Normalisation& normalisation,
            Precision precision,
            Device& device);

  /// The next micro-batch; waits until the loader has made it. What compute launches afterwards
  /// finds it complete. Throws what loading it threw.
  Batch next();

  /// Launches the copy of the micro-batch after this one, if the loader has made it and the device
  /// copies beside compute: call it once compute has enough to do.
  void copy_ahead();

  /// The same, but waits for the loader: a step that follows does not.
  void wait_and_copy_ahead();

  /// Micro-batches that `next` can still be asked for.
  [[nodiscard]] std::int64_t left() const { return loader_->left() + (ahead_ ? 1 : 0); }

 private:
  [[nodiscard]] Batch to_device(const Batch& loaded);

  std::unique_ptr<EpochLoader> loader_;
  at::ScalarType type_;
  Device& device_;
  at::Tensor mean_;  // channels x 1 x 1, as is the deviation
  at::Tensor deviation_;
  std::optional<Batch> ahead_;
};

}  // namespace vitsim
