#include "models/vit/zero_3_gathers.h"

#include <algorithm>

#include "models/vit/modules.h"

namespace vitsim {

namespace {

/// Walks through the modules of forward and backward as DeepSpeed's coordinator does.
class Coordinator {
 public:
  Coordinator(const ModelPart& part, const ZeroSpec& zero)
      : zero_(zero), modules_(leaf_modules(part)) {
    const std::vector<ParameterTensor> tensors = parameters(part);
    for (const LeafModule& module : modules_) {
      std::int64_t split = 0;
      for (std::size_t i = module.first; i < module.first + module.tensors; ++i) {
        const std::int64_t elements = tensors[i].elements();
        if (elements < zero.param_persistence_threshold) {
          result_.persistent.push_back(elements);
        } else {
          split += elements;
        }
      }
      split_.push_back(split);
    }
    gathered_.resize(modules_.size());
    for (std::size_t i = 0; i < modules_.size(); ++i) {
      order_.push_back(i);
    }
    for (std::size_t i = modules_.size(); i-- > 0;) {
      order_.push_back(i);
    }
  }

  Zero3Gathers walk() {
    for (std::size_t at = 0; at < order_.size(); ++at) {
      visit(at);
    }
    return std::move(result_);
  }

 private:
  void visit(std::size_t at) {
    const std::size_t mine = order_[at];
    const LeafModule& module = modules_[mine];
    const bool backward = at >= modules_.size();
    Zero3Step step{.is_backward = backward,
                   .begin = backward ? 1 - module.end : module.begin,
                   .end = backward ? 1 - module.begin : module.end};
    if (split_[mine] > 0 && !gathered_[mine]) {
      step.issues.push_back(gather({mine}));
    }
    queue_ = std::max(queue_, at + 1);
    if (zero_.prefetch_bucket_size > 0) {
      const std::vector<std::size_t> next = modules_to_prefetch();
      if (!next.empty()) {
        step.issues.push_back(gather(next));
      }
    }
    step.needs = gathered_[mine];
    result_.most_gathered = std::max(result_.most_gathered, live_);
    if (gathered_[mine] && !is_used_again(at)) {
      gathered_[mine].reset();
      live_ -= split_[mine];
    }
    result_.steps.push_back(std::move(step));
  }

  std::size_t gather(const std::vector<std::size_t>& modules) {
    std::int64_t elements = 0;
    for (const std::size_t module : modules) {
      elements += split_[module];
      gathered_[module] = result_.calls.size();
    }
    live_ += elements;
    result_.calls.push_back(elements);
    return result_.calls.size() - 1;
  }

  std::vector<std::size_t> modules_to_prefetch() {
    const std::int64_t room =
        std::min(zero_.max_live_parameters - live_, zero_.prefetch_bucket_size);
    std::vector<std::size_t> found;
    std::int64_t elements = 0;
    while (queue_ < order_.size() && elements < room) {
      const std::size_t next = order_[queue_++];
      if (split_[next] > 0 && !gathered_[next] && std::ranges::find(found, next) == found.end()) {
        found.push_back(next);
        elements += split_[next];
      }
    }
    return found;
  }

  [[nodiscard]] bool is_used_again(std::size_t at) const {
    std::int64_t distance = 0;
    for (std::size_t next = at + 1; next < order_.size() && distance < zero_.max_reuse_distance;
         ++next) {
      if (order_[next] == order_[at]) {
        return true;
      }
      distance += modules_[order_[next]].elements;
    }
    return false;
  }

  const ZeroSpec& zero_;
  std::vector<LeafModule> modules_;
  std::vector<std::int64_t> split_;                   // by module: elements that ranks share
  std::vector<std::size_t> order_;                    // modules of forward, then of backward
  std::vector<std::optional<std::size_t>> gathered_;  // by module: the call that brought it
  std::size_t queue_ = 0;                             // of `order_`: the next to be prefetched
  std::int64_t live_ = 0;
  Zero3Gathers result_;
};

}  // namespace

Zero3Gathers zero_3_gathers(const ModelPart& part, const ZeroSpec& zero) {
  return Coordinator(part, zero).walk();
}

}  // namespace vitsim
