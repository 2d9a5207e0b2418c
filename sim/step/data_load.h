#pragma once

#include "sim/step/compute_stream.h"

namespace vitsim {

/// The compute stream waits for the loader, which works ahead. Slowdowns of the GPU do not touch
/// the loader; a pause does.
inline void load_data(ComputeStream& stream, const MicroBatchWork& batch) {
  const Tick begin = stream.now;
  stream.now = stream.speed.finish_waiting(stream.now, batch.data_load);
  stream.note(Stream::kLoader, Phase::kDataLoad, begin, stream.now);
}

}  // namespace vitsim
