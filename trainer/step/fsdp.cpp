// Fully sharded data parallelism as PyTorch's FSDP2 does it per encoder block: each block is a
// unit, and what belongs to no block (patch embedding, class token, positions, final norm, head) is
// the root unit. A rank keeps a shard of each unit's weights in fp32, its optimizer state and its
// gradient.
//
//   forward    the root and the first two blocks are gathered, then each block while the one before
//              it computes; a block's whole weights are released after it (reshard_after_forward)
//   backward   the same in reverse, for blocks alone: the root has stayed. Each block's gradients
//              are reduce-scattered while the next block computes, one at a time, behind the
//              AllGather that is needed sooner; the root's at the end
//
// So L + 1 AllGathers in forward, L in backward and L + 1 ReduceScatters in every micro-batch, and
// at most two blocks are whole at a time.
//
// Releasing a unit frees the memory under its tensors and leaves the tensors: the graph of a block
// still refers to the weights that backward will need, and finds them in the same tensors after the
// unit was gathered again.
//
// Unlike FSDP2, which cuts every parameter along its first dimension, a unit is cut as one flat
// vector. Between GPUs NCCL runs the collectives of a group on one stream, in order.
#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include <ATen/ATen.h>

#include "trainer/block_pass.h"
#include "trainer/step/gradient_reducer.h"

namespace vitsim {

namespace {

class Unit {
 public:
  Unit(const std::vector<at::Tensor>& parameters,
       std::vector<std::size_t> members,
       std::int64_t rank,
       std::int64_t size)
      : parameters_(parameters), members_(std::move(members)) {
    for (const std::size_t member : members_) {
      elements_ += parameters_[member].numel();
    }
    shard_ = (elements_ + size - 1) / size;
    begin_ = rank * shard_;
    flat_ = at::zeros(shard_ * size, parameters_.front().options().requires_grad(false));
    std::int64_t at = 0;
    for (const std::size_t member : members_) {
      const at::Tensor& parameter = parameters_[member];
      const at::Tensor view = flat_.narrow(0, at, parameter.numel()).view(parameter.sizes());
      view.copy_(parameter);
      parameter.set_data(view);
      at += parameter.numel();
    }
    master_ = own_part().to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    bytes_ = static_cast<std::int64_t>(flat_.nbytes());
    release();
  }

  [[nodiscard]] bool whole() const { return whole_; }

  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

  /// Makes room for the whole weights and launches the AllGather.
  c10::intrusive_ptr<c10d::Work> launch_gather(c10d::ProcessGroup& group) {
    c10::StorageImpl& storage = *flat_.storage().unsafeGetStorageImpl();
    storage.set_data_ptr_noswap(storage.allocator()->allocate(static_cast<std::size_t>(bytes_)));
    storage.set_nbytes(static_cast<std::size_t>(bytes_));
    sent_ = master_.to(flat_.scalar_type());
    return group._allgather_base(flat_, sent_);
  }

  void gathered() {
    sent_.reset();
    whole_ = true;
  }

  void release() {
    c10::StorageImpl& storage = *flat_.storage().unsafeGetStorageImpl();
    storage.set_data_ptr_noswap(at::DataPtr(nullptr, storage.device()));
    storage.set_nbytes(std::size_t{0});
    whole_ = false;
  }

  /// The members' gradients in a row, padded; `type` is that of the sum.
  [[nodiscard]] at::Tensor flatten(const std::vector<at::Tensor>& gradients,
                                   at::ScalarType type) const {
    at::Tensor flat = at::empty(flat_.numel(), flat_.options().dtype(type));
    std::int64_t at = 0;
    for (std::size_t i = 0; i < members_.size(); ++i) {
      const std::int64_t count = parameters_[members_[i]].numel();
      at::Tensor part = flat.narrow(0, at, count);
      if (gradients[i].defined()) {
        part.copy_(gradients[i].reshape(-1));
      } else {
        part.zero_();
      }
      at += count;
    }
    flat.narrow(0, at, flat.numel() - at).zero_();
    return flat;
  }

  [[nodiscard]] at::Tensor shard_like(const at::Tensor& flat) const {
    return at::empty(shard_, flat.options());
  }

  void add_gradient(const at::Tensor& sum) {
    if (gradient_.defined()) {
      gradient_.add_(sum);
    } else {
      gradient_ = sum.to(at::kFloat);
    }
  }

  void forget_gradient() { gradient_.reset(); }

  [[nodiscard]] const std::vector<std::size_t>& members() const { return members_; }

  void add_slices(std::vector<Slice>& slices) {
    if (!gradient_.defined()) {
      gradient_ = at::zeros_like(master_);
    }
    std::int64_t at = 0;
    for (const std::size_t member : members_) {
      const std::int64_t count = parameters_[member].numel();
      const std::int64_t from = std::max(at, begin_);
      const std::int64_t to = std::min(at + count, begin_ + shard_);
      if (from < to) {
        slices.push_back({.weight = master_.narrow(0, from - begin_, to - from),
                          .gradient = gradient_.narrow(0, from - begin_, to - from),
                          .parameter = member,
                          .offset = from - at});
      }
      at += count;
    }
  }

  void adopt() { master_.copy_(own_part()); }

 private:
  [[nodiscard]] at::Tensor own_part() const { return flat_.narrow(0, begin_, shard_); }

  const std::vector<at::Tensor>& parameters_;
  std::vector<std::size_t> members_;
  std::int64_t elements_ = 0;
  std::int64_t shard_ = 0;
  std::int64_t begin_ = 0;
  std::int64_t bytes_ = 0;
  at::Tensor flat_;      // the members are views of it
  at::Tensor master_;    // this rank's shard, fp32
  at::Tensor sent_;      // the shard in the model's type, while it is gathered
  at::Tensor gradient_;  // of the shard, fp32, this step's so far
  bool whole_ = false;
};

class Fsdp : public GradientReducer, public BlockObserver {
 public:
  Fsdp(const Fsdp&) = delete;
  Fsdp& operator=(const Fsdp&) = delete;

  explicit Fsdp(const ReducerContext& context)
      : group_(context.group),
        device_(*context.device),
        model_(*context.model),
        spec_(context.training->fsdp) {
    const at::NoGradGuard no_grad;
    const auto& parameters = context.parameters();
    const std::int64_t layers = model_.spec().layers;
    std::vector<std::size_t> root;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (i < VisionTransformer::block_begin(0) || i >= VisionTransformer::block_begin(layers)) {
        root.push_back(i);
      }
    }
    const auto add = [&](std::vector<std::size_t> members) {
      units_.emplace_back(parameters, std::move(members), group_->getRank(), group_->getSize());
    };
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      std::vector<std::size_t> members;
      for (std::size_t i = 0; i < VisionTransformer::kBlockTensors; ++i) {
        members.push_back(VisionTransformer::block_begin(layer) + i);
      }
      add(std::move(members));
    }
    add(std::move(root));
    model_.set_block_observer(this);
  }

  ~Fsdp() override { model_.set_block_observer(nullptr); }

  void begin_step(const StepShare& /*share*/) override {
    for (Unit& unit : units_) {
      unit.forget_gradient();
    }
  }

  void before_forward(bool /*last*/) override {
    launch(root());
    launch(0);
    launch(std::min<std::int64_t>(1, last_layer()));
    need(root());
  }

  void before_backward(bool /*last*/) override { launch(last_layer()); }

  void before_block_forward(std::int64_t layer) override {
    need(units_[static_cast<std::size_t>(layer)]);
    if (layer < last_layer()) {
      launch(layer + 1);
    }
  }

  void after_block_forward(std::int64_t layer) override {
    if (spec_.reshard_after_forward) {
      units_[static_cast<std::size_t>(layer)].release();
    }
  }

  void before_block_backward(std::int64_t layer) override {
    if (layer > 0) {
      launch(layer - 1);
    }
    scatter_ready();
    need(units_[static_cast<std::size_t>(layer)]);
  }

  void after_block_backward(std::int64_t layer, std::vector<at::Tensor> gradients) override {
    Unit& unit = units_[static_cast<std::size_t>(layer)];
    unit.release();
    make_ready(unit, gradients);
    if (layer == 0) {
      scatter_ready();
    }
  }

  void after_backward(bool /*last*/) override {
    const auto& parameters = model_.parameters();
    std::vector<at::Tensor> gradients;
    for (const std::size_t member : root().members()) {
      gradients.push_back(std::exchange(parameters[member].mutable_grad(), {}));
    }
    root().release();
    make_ready(root(), gradients);
    scatter_ready();
  }

  [[nodiscard]] bool tracks_collectives() const override { return true; }

  [[nodiscard]] bool reduces_every_micro_batch() const override { return true; }

  std::int64_t reduce() override {
    if (scattering_) {
      scattering_->work->wait();
      take_scattered();
    }
    return 0;
  }

  [[nodiscard]] std::vector<Slice> slices() override {
    std::vector<Slice> slices;
    for (Unit& unit : units_) {
      unit.add_slices(slices);
    }
    return slices;
  }

  // The next forward gathers the new weights.
  std::int64_t publish() override { return 0; }

  void sum_over_shards(at::Tensor& values) override {
    std::vector<at::Tensor> tensors = {values};
    group_->allreduce(tensors)->wait();
  }

  [[nodiscard]] bool sharded() const override { return true; }

  void gather_model() override {
    const at::NoGradGuard no_grad;
    for (Unit& unit : units_) {
      unit.launch_gather(*group_)->wait();
      unit.gathered();
    }
  }

  void release_model() override {
    for (Unit& unit : units_) {
      unit.release();
    }
  }

  void adopt_model() override {
    const at::NoGradGuard no_grad;
    for (Unit& unit : units_) {
      unit.adopt();
    }
  }

 private:
  struct Scattering {
    Unit* unit = nullptr;
    at::Tensor flat;  // must live until the sum is there
    at::Tensor sum;
    c10::intrusive_ptr<c10d::Work> work;
  };

  [[nodiscard]] Unit& root() { return units_.back(); }

  [[nodiscard]] std::int64_t last_layer() const {
    return static_cast<std::int64_t>(units_.size()) - 2;
  }

  void launch(std::int64_t layer) { launch(units_[static_cast<std::size_t>(layer)]); }

  void launch(Unit& unit) {
    if (unit.whole() || gathers_.contains(&unit)) {
      return;
    }
    const at::NoGradGuard no_grad;
    const auto work = unit.launch_gather(*group_);
    device_.track(work, Phase::kParameterAllGather, unit.bytes());
    gathers_.emplace(&unit, work);
  }

  // The unit's weights are about to be used.
  void need(Unit& unit) {
    launch(unit);
    if (const auto gather = gathers_.find(&unit); gather != gathers_.end()) {
      wait_within_pass(device_, *gather->second);
      gathers_.erase(gather);
      unit.gathered();
    }
  }

  void make_ready(Unit& unit, const std::vector<at::Tensor>& gradients) {
    const at::NoGradGuard no_grad;
    ready_ = {.unit = &unit, .flat = unit.flatten(gradients, sum_type())};
  }

  void scatter_ready() {
    if (!ready_) {
      return;
    }
    const at::NoGradGuard no_grad;
    if (scattering_) {
      wait_within_pass(device_, *scattering_->work);
      take_scattered();
    }
    Unit& unit = *ready_->unit;
    at::Tensor flat = std::move(ready_->flat);
    ready_.reset();
    at::Tensor sum = unit.shard_like(flat);
    const auto work = group_->_reduce_scatter_base(sum, flat);
    device_.track(work, Phase::kGradientAllReduce, static_cast<std::int64_t>(flat.nbytes()));
    scattering_ = {.unit = &unit, .flat = flat, .sum = sum, .work = work};
  }

  void take_scattered() {
    const at::NoGradGuard no_grad;
    scattering_->unit->add_gradient(scattering_->sum);
    scattering_.reset();
  }

  [[nodiscard]] at::ScalarType sum_type() const {
    return spec_.reduce_precision ? model_type(*spec_.reduce_precision)
                                  : model_.parameters().front().scalar_type();
  }

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  Device& device_;
  VisionTransformer& model_;
  FsdpSpec spec_;
  std::deque<Unit> units_;  // the blocks, then the root
  std::map<Unit*, c10::intrusive_ptr<c10d::Work>> gathers_;
  std::optional<Scattering> ready_;       // gradients in a row, not sent yet
  std::optional<Scattering> scattering_;  // on its way
};

}  // namespace

std::unique_ptr<GradientReducer> make_fsdp(const ReducerContext& context) {
  return std::make_unique<Fsdp>(context);
}

}  // namespace vitsim
