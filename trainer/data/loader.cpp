// The thin layer between the loader, which works on plain buffers, and tensors.

#include "trainer/data/loader.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randperm.h>

#include "models/error.h"
#include "trainer/data/epoch_deal.h"
#include "trainer/data/ordered_prefetch.h"
#include "trainer/data/sample_reader.h"

namespace vitsim {

namespace {

// What DistributedSampler(shuffle=True, seed=seed) draws after set_epoch(epoch).
std::vector<std::int64_t> shuffled_order(std::int64_t samples,
                                         std::uint64_t seed,
                                         std::int64_t epoch) {
  const at::Generator generator =
      at::detail::createCPUGenerator(seed + static_cast<std::uint64_t>(epoch));
  const at::Tensor order = at::randperm(samples, generator, at::TensorOptions(at::kLong));
  const auto* data = order.const_data_ptr<std::int64_t>();
  return {data, data + samples};
}

std::int64_t ceil_divide(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

class PrefetchingLoader final : public EpochLoader {
 public:
  /// The samples of micro-batch `number`, counted from the first that is asked for.
  using IndicesOf = std::function<std::vector<std::int64_t>(std::int64_t number)>;

  PrefetchingLoader(const Dataset& dataset,
                    const TrainingSpec& training,
                    std::optional<std::int64_t> epoch,
                    std::int64_t micro_batches,
                    IndicesOf indices_of,
                    const LoaderOptions& options)
      : dataset_(dataset),
        training_(training),
        epoch_(epoch),
        indices_of_(std::move(indices_of)),
        image_options_(at::TensorOptions(at::kByte).pinned_memory(options.pin_memory)),
        label_options_(at::TensorOptions(at::kLong).pinned_memory(options.pin_memory)),
        batches_(micro_batches,
                 options.workers,
                 options.ahead,
                 [this](std::int64_t number, const std::stop_token& stop) {
                   return make(number, stop);
                 }) {}

  Batch next() override { return batches_.take(); }

  [[nodiscard]] bool is_ready() const override { return batches_.is_ready(); }

  [[nodiscard]] std::int64_t left() const override { return batches_.left(); }

 private:
  Batch make(std::int64_t number, const std::stop_token& stop) const {
    const std::vector<std::int64_t> indices = indices_of_(number);
    const auto count = static_cast<std::int64_t>(indices.size());
    const VitSpec& model = training_.model;
    Batch batch{.images = at::empty({count, model.channels, model.image_size, model.image_size},
                                    image_options_),
                .labels = at::empty({count}, label_options_)};
    SampleReader reader(dataset_, training_, epoch_);
    reader.read(indices,
                {batch.images.mutable_data_ptr<std::uint8_t>(),
                 static_cast<std::size_t>(batch.images.numel())},
                {batch.labels.mutable_data_ptr<std::int64_t>(), indices.size()},
                stop);
    return batch;
  }

  const Dataset& dataset_;
  const TrainingSpec training_;
  const std::optional<std::int64_t> epoch_;
  const IndicesOf indices_of_;
  const at::TensorOptions image_options_;
  const at::TensorOptions label_options_;
  OrderedPrefetch<Batch> batches_;  // last: its threads use the rest
};

}  // namespace

std::unique_ptr<EpochLoader> start_epoch(const Dataset& dataset,
                                         const TrainingSpec& training,
                                         const EpochPlan& plan,
                                         std::int64_t rank,
                                         std::int64_t world,
                                         std::int64_t epoch,
                                         std::int64_t first_step,
                                         const LoaderOptions& options) {
  VITSIM_CHECK(plan.subset, <=, dataset.size());
  EpochDeal deal(plan, rank, world);
  const std::int64_t first = deal.micro_batches_before(first_step);
  const std::int64_t count = deal.micro_batches() - first;
  auto indices_of = [deal = std::move(deal),
                     order = shuffled_order(plan.subset, training.seed, epoch),
                     first,
                     &dataset](std::int64_t number) {
    std::vector<std::int64_t> indices = deal.positions(first + number);
    for (std::int64_t& index : indices) {
      index = dataset.index_in_part(order[static_cast<std::size_t>(index)],
                                    static_cast<std::int64_t>(order.size()));
    }
    return indices;
  };
  return std::make_unique<PrefetchingLoader>(
      dataset, training, epoch, count, std::move(indices_of), options);
}

std::unique_ptr<EpochLoader> start_evaluation(const Dataset& dataset,
                                              const TrainingSpec& training,
                                              std::int64_t batch,
                                              std::int64_t rank,
                                              std::int64_t world,
                                              const LoaderOptions& options) {
  const std::int64_t samples = dataset.size();
  const std::int64_t own = rank < samples ? ceil_divide(samples - rank, world) : 0;
  auto indices_of = [=](std::int64_t number) {
    std::vector<std::int64_t> indices;
    for (std::int64_t i = number * batch; i < std::min(own, (number + 1) * batch); ++i) {
      indices.push_back(rank + i * world);
    }
    return indices;
  };
  return std::make_unique<PrefetchingLoader>(
      dataset, training, std::nullopt, ceil_divide(own, batch), std::move(indices_of), options);
}

}  // namespace vitsim
