#pragma once

#include <string>
#include <vector>

#include "models/experiment/experiment.h"
#include "sim/predict/sweep.h"

namespace vitsim {

/// A way to train, as changes to the file; GPUs and batches are chosen besides.
struct Variant {
  std::vector<Override> set;  // empty: the file's way
  std::string change;         // "gradient_sync ddp, recompute block"; may be empty
  std::string compute_key;    // ways with the same key compute alike
  bool saves_memory = false;  // and computes more: only worth a try where memory is short
};

/// The ways to try: every gradient sync with its options, degrees of parallelism, recomputation,
/// the library's own AllReduce, and every combination of the varied keys. `keep` names keys, or
/// beginnings of keys, that stay.
std::vector<Variant> variants(const Experiment& base,
                              const std::vector<std::string>& keep,
                              const std::vector<VariedKey>& vary);

/// Whether `key` is one of the kept ones or inside of one.
bool is_kept(const std::vector<std::string>& keep, const std::string& key);

}  // namespace vitsim
