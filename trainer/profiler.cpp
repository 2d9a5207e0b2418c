#include "trainer/profiler.h"

#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <ATen/record_function.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/profiler_kineto.h>
#include <torch/csrc/profiler/kineto_shim.h>

namespace vitsim {

namespace impl = torch::profiler::impl;
namespace autograd = torch::autograd::profiler;

struct Profiler::Recording {
  std::optional<at::RecordFunction> step;
};

Profiler::Profiler(std::filesystem::path file,
                   int rank,
                   int size,
                   bool cuda,
                   std::int64_t first,
                   std::int64_t last)
    : file_(std::move(file)), rank_(rank), size_(size), cuda_(cuda), first_(first), last_(last) {
  if (!cuda) {
    setenv("KINETO_LOG_LEVEL", "99", 0);  // else it complains that there is no GPU
  }
}

Profiler::~Profiler() {
  if (recording_) {
    recording_->step.reset();
    autograd::disableProfiler();  // a run that failed: nothing is written
  }
}

void Profiler::begin_step(std::int64_t step) {
  if (step < first_ || step > last_) {
    return;
  }
  if (!recording_) {
    const impl::ProfilerConfig config(impl::ProfilerState::KINETO, /*report_input_shapes=*/true);
    std::set<impl::ActivityType> activities = {impl::ActivityType::CPU};
    if (cuda_) {
      activities.insert(impl::ActivityType::CUDA);
    }
    autograd::prepareProfiler(config, activities);
    // Holistic Trace Analysis finds the rank by a pattern with a space after the colon.
    autograd::addMetadataJson("distributedInfo",
                              fmt::format(R"({{"backend": "{}", "rank": {}, "world_size": {}}})",
                                          cuda_ ? "nccl" : "mpi",
                                          rank_,
                                          size_));
    autograd::enableProfiler(
        config, activities, {at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE});
    recording_ = std::make_unique<Recording>();
  }
  recording_->step.emplace(at::RecordScope::USER_SCOPE);
  if (recording_->step->isActive()) {
    recording_->step->before(fmt::format("ProfilerStep#{}", step));
  }
}

void Profiler::end_step(std::int64_t step) {
  if (!recording_) {
    return;
  }
  recording_->step.reset();
  if (step >= last_) {
    write();
  }
}

void Profiler::write() {
  recording_.reset();
  const auto result = autograd::disableProfiler();
  std::filesystem::create_directories(file_.parent_path());
  const std::filesystem::path temporary = file_.string() + ".partial";
  result->save(temporary);
  std::filesystem::rename(temporary, file_);
}

}  // namespace vitsim
