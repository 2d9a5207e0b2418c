#include "models/vit/partition.h"

#include <algorithm>
#include <numeric>
#include <queue>
#include <string_view>
#include <tuple>

namespace vitsim {

namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// The number of the encoder layer that a tensor belongs to; -1 for embedding and head.
constexpr std::string_view kLayerPrefix = "encoder.layers.encoder_layer_";

bool is_of_block(const ParameterTensor& tensor) {
  return tensor.name.starts_with(kLayerPrefix);
}

std::int64_t block_of(const ParameterTensor& tensor) {
  return std::stoll(tensor.name.substr(kLayerPrefix.size()));
}

bool is_of_head(const ParameterTensor& tensor) {
  return tensor.name.starts_with("encoder.ln.") || tensor.name.starts_with("heads.");
}

// Megatron's split: query, key, value and the MLP's first product by columns with their biases, the
// products that follow them by rows, whose biases are whole; the vocabulary by rows.
bool is_sharded(const ParameterTensor& tensor) {
  const std::string_view name = tensor.name;
  return name.ends_with("in_proj_weight") || name.ends_with("in_proj_bias") ||
         name.ends_with("out_proj.weight") || name.ends_with("mlp.0.weight") ||
         name.ends_with("mlp.0.bias") || name.ends_with("mlp.3.weight") ||
         name == "embedding.weight" || name == "heads.head.shared_weight";
}

void shard(ParameterTensor& tensor, std::int64_t tensor_ranks) {
  const bool by_rows_of_the_second =
      tensor.name.ends_with("out_proj.weight") || tensor.name.ends_with("mlp.3.weight");
  std::int64_t& dimension = tensor.shape[by_rows_of_the_second ? 1 : 0];
  dimension = divide_up(dimension, tensor_ranks);
}

}  // namespace

std::int64_t ModelPart::block_count() const {
  return std::accumulate(
      blocks.begin(), blocks.end(), std::int64_t{0}, [](std::int64_t sum, const BlockRange& range) {
        return sum + range.count();
      });
}

std::int64_t ModelPart::padded_tokens() const {
  const std::int64_t parts = norms_split ? sequence * tensor : sequence;
  return divide_up(model.tokens(), parts) * parts;
}

bool ModelPart::is_whole() const {
  return *this == ModelPart(model);
}

ModelPart ModelPart::only_blocks() const {
  ModelPart part = *this;
  part.embedding = false;
  part.head = false;
  return part;
}

ModelPart ModelPart::only_ends() const {
  ModelPart part = *this;
  part.blocks.clear();
  return part;
}

ModelPart ModelPart::chunk(std::size_t index) const {
  ModelPart part = *this;
  part.blocks = {blocks[index]};
  part.embedding = embedding && index == 0;
  part.head = head && index + 1 == blocks.size();
  return part;
}

std::vector<std::int64_t> deal_blocks(std::int64_t layers,
                                      std::int64_t stages,
                                      std::int64_t chunks,
                                      const StageCosts& costs) {
  const std::int64_t parts = stages * chunks;
  const auto slowness = [&](std::int64_t part) {
    return costs.slowness.empty() ? 1.0 : costs.slowness[static_cast<std::size_t>(part % stages)];
  };
  const bool equally_fast =
      std::ranges::adjacent_find(costs.slowness, std::ranges::not_equal_to()) ==
      costs.slowness.end();
  if (layers % parts == 0 && equally_fast) {
    return std::vector<std::int64_t>(static_cast<std::size_t>(parts), layers / parts);
  }
  // Blocks are alike, so that each next one best goes where it makes the least longest time: of the
  // whole stage first, then of its chunk.
  std::vector<std::int64_t> blocks(static_cast<std::size_t>(parts), 1);
  std::vector<double> work(static_cast<std::size_t>(stages), static_cast<double>(chunks));
  work.front() += costs.embedding;
  work.back() += costs.head;
  using Next = std::tuple<double, std::int64_t, std::int64_t>;  // time with one more, blocks, part
  std::priority_queue<Next, std::vector<Next>, std::greater<>> next;
  const auto push = [&](std::int64_t part) {
    const double now = work[static_cast<std::size_t>(part % stages)];
    next.emplace(slowness(part) * (now + 1), blocks[static_cast<std::size_t>(part)], part);
  };
  for (std::int64_t part = 0; part < parts; ++part) {
    push(part);
  }
  for (std::int64_t left = layers - parts; left > 0;) {
    const auto [time, count, part] = next.top();
    next.pop();
    double& now = work[static_cast<std::size_t>(part % stages)];
    if (time == slowness(part) * (now + 1)) {  // else another chunk of the stage was given one
      now += 1;
      ++blocks[static_cast<std::size_t>(part)];
      --left;
    }
    push(part);
  }
  return blocks;
}

ModelPart part_of_stage(const VitSpec& model,
                        const ParallelismSpec& split,
                        Recompute recompute,
                        std::span<const std::int64_t> blocks,
                        std::int64_t stage) {
  const std::int64_t stages = split.pipeline.stages;
  ModelPart part(model);
  part.blocks.clear();
  std::int64_t first = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (static_cast<std::int64_t>(i) % stages == stage) {
      part.blocks.push_back({.first = first, .last = first + blocks[i]});
    }
    first += blocks[i];
  }
  part.embedding = stage == 0;
  part.head = stage + 1 == stages;
  part.tensor = split.tensor;
  part.sequence = split.sequence_ranks();
  part.norms_split = split.splits_tokens_with_tensor();
  part.recompute = recompute;
  return part;
}

std::vector<ParameterTensor> parameters(const ModelPart& part) {
  std::vector<ParameterTensor> kept;
  const auto in_blocks = [&](std::int64_t block) {
    return std::ranges::any_of(part.blocks, [&](const BlockRange& range) {
      return block >= range.first && block < range.last;
    });
  };
  for (ParameterTensor& tensor : parameters(part.model)) {
    const bool is_held = is_of_block(tensor)  ? in_blocks(block_of(tensor))
                         : is_of_head(tensor) ? part.head
                                              : part.embedding;
    if (is_held) {
      if (is_sharded(tensor)) {
        shard(tensor, part.tensor);
      }
      kept.push_back(std::move(tensor));
    }
  }
  if (part.model.is_token_model() && part.head && !part.embedding) {
    kept.push_back({.name = "heads.head.shared_weight",
                    .shape = {divide_up(part.model.vocabulary, part.tensor), part.model.width}});
  }
  return kept;
}

std::int64_t parameter_count(const ModelPart& part) {
  const VitSpec& vit = part.model;
  const std::int64_t d = vit.width;
  const std::int64_t m = vit.mlp;
  const std::int64_t t = part.tensor;
  const std::int64_t norm = 2 * d;
  const std::int64_t attention = (3 * d * d + 3 * d) / t + d * d / t + d;
  const std::int64_t mlp = (d * m + m) / t + m * d / t + d;
  std::int64_t count = part.block_count() * (2 * norm + attention + mlp);
  const std::int64_t vocabulary = divide_up(vit.vocabulary, t) * d;
  if (part.embedding) {
    count += vit.tokens() * d;
    count += vit.is_token_model() ? vocabulary : 2 * d + vit.channels * vit.patch * vit.patch * d;
  }
  if (part.head) {
    count += norm;
    if (!vit.is_token_model()) {
      count += d * vit.classes + vit.classes;
    } else if (!part.embedding) {
      count += vocabulary;
    }
  }
  return count;
}

}  // namespace vitsim
