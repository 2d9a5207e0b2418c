// A block whose backward is a function of its own: autograd sees one node with the block's input
// and parameters. Forward builds the block's inner graph on a detached input and keeps it for
// backward, or, with recomputation, keeps the input alone and builds the inner graph in backward.
// Either way backward is `grad` of the inner graph, so that whoever holds the weights knows exactly
// when they are used: between before_block_* and after_block_*. The parameters' own gradient hooks
// (c10d's Reducer) see the gradients when the outer node hands them on.
//
// The model has no dropout, so computing a block again needs no state of a random generator, only
// the autocast mode that forward ran in.
#include "trainer/block_pass.h"

#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "trainer/autocast.h"

namespace vitsim {

namespace {

// What a block's forward leaves for its backward.
struct SavedBlock : torch::CustomClassHolder {
  BlockPass pass;
  at::Tensor input;   // detached, requires a gradient
  at::Tensor output;  // of the inner graph; undefined with recomputation
  std::optional<at::ScalarType> autocast;

  [[nodiscard]] at::Tensor compute() const {
    const at::AutoGradMode with_graph(true);
    if (autocast) {
      const Autocast mode(input.device().type(), *autocast);
      return pass.compute(input);
    }
    return pass.compute(input);
  }
};

class Block : public torch::autograd::Function<Block> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context,
                            const at::Tensor& input,
                            at::TensorList /*parameters*/,
                            const c10::intrusive_ptr<SavedBlock>& saved) {
    const BlockPass& pass = saved->pass;
    const at::DeviceType device = input.device().type();
    if (at::autocast::is_autocast_enabled(device)) {
      saved->autocast = at::autocast::get_autocast_dtype(device);
    }
    saved->input = input.detach().set_requires_grad(true);
    if (pass.observer != nullptr) {
      pass.observer->before_block_forward(pass.layer);
    }
    at::Tensor output;
    if (pass.recompute) {
      output = pass.compute(saved->input);  // without a graph
    } else {
      const at::AutoGradMode with_graph(true);
      saved->output = pass.compute(saved->input);
      output = saved->output.detach();
    }
    if (pass.observer != nullptr) {
      pass.observer->after_block_forward(pass.layer);
    }
    context->saved_data["block"] = c10::IValue::make_capsule(saved);
    return output;
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      const torch::autograd::variable_list& output_gradients) {
    const auto saved =
        c10::static_intrusive_pointer_cast<SavedBlock>(context->saved_data.at("block").toCapsule());
    context->saved_data.clear();
    const BlockPass& pass = saved->pass;
    if (pass.observer != nullptr) {
      pass.observer->before_block_backward(pass.layer);
    }
    at::Tensor output = std::move(saved->output);
    if (pass.recompute) {
      output = saved->compute();
    }
    std::vector<at::Tensor> inputs = {saved->input};
    inputs.insert(inputs.end(), pass.parameters.begin(), pass.parameters.end());
    std::vector<at::Tensor> gradients =
        torch::autograd::grad({output}, inputs, {output_gradients.front()});
    output.reset();
    if (pass.observer != nullptr) {
      std::vector<at::Tensor> of_parameters(std::make_move_iterator(gradients.begin() + 1),
                                            std::make_move_iterator(gradients.end()));
      pass.observer->after_block_backward(pass.layer, std::move(of_parameters));
      for (std::size_t i = 1; i < gradients.size(); ++i) {
        gradients[i] = at::Tensor();
      }
    }
    gradients.emplace_back();  // the saved block has none
    return gradients;
  }
};

}  // namespace

at::Tensor run_block(const at::Tensor& input, BlockPass pass) {
  auto saved = c10::make_intrusive<SavedBlock>();
  saved->pass = std::move(pass);
  return Block::apply(input, at::TensorList(saved->pass.parameters), saved);
}

}  // namespace vitsim
