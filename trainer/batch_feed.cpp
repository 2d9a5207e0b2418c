// How a micro-batch gets from the loader to the model.
//
// The loader makes bytes. They are copied to the device and become (level / 255 - mean) / deviation
// in fp32 there, then the type of the model's products. All of that runs on a stream of its own,
// one micro-batch ahead: it costs the compute stream nothing but a share of the memory's bandwidth,
// and the memory of one more micro-batch.
#include "trainer/batch_feed.h"

#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "trainer/model.h"

namespace vitsim {

namespace {

at::Tensor by_channel(const std::vector<float>& values, c10::Device device) {
  return at::tensor(values, at::kFloat)
      .view({static_cast<std::int64_t>(values.size()), 1, 1})
      .to(device);
}

}  // namespace

LoaderOptions loader_options(const LoaderSpec& loader, const Device& device) {
  return {.workers = loader.workers,
          .ahead = 2 * loader.workers,
          .pin_memory = loader.pinned && !device.torch_device().is_cpu()};
}

BatchFeed::BatchFeed(std::unique_ptr<EpochLoader> loader,
                     const Normalisation& normalisation,
                     Precision precision,
                     Device& device)
    : loader_(std::move(loader)),
      type_(product_type(precision)),
      device_(device),
      mean_(by_channel(normalisation.mean, device.torch_device())),
      deviation_(by_channel(normalisation.deviation, device.torch_device())) {}

Batch BatchFeed::next() {
  Batch batch =
      ahead_ ? std::move(*std::exchange(ahead_, std::nullopt)) : to_device(loader_->next());
  device_.join_copies({batch.images, batch.labels});
  return batch;
}

void BatchFeed::copy_ahead() {
  if (!ahead_ && device_.copies_beside_compute() && loader_->is_ready()) {
    ahead_ = to_device(loader_->next());
  }
}

void BatchFeed::wait_and_copy_ahead() {
  if (!ahead_ && device_.copies_beside_compute() && loader_->left() > 0) {
    ahead_ = to_device(loader_->next());
  }
}

Batch BatchFeed::to_device(const Batch& loaded) {
  const at::NoGradGuard no_grad;
  const c10::Device target = device_.torch_device();
  const bool asynchronous = loaded.images.is_pinned();
  Batch batch;
  device_.run_copies([&] {
    const at::Tensor levels = loaded.images.to(target, asynchronous);
    batch.images = at::div(levels, 255.0).sub_(mean_).div_(deviation_).to(type_);
    batch.labels = loaded.labels.to(target, asynchronous);
  });
  return batch;
}

}  // namespace vitsim
