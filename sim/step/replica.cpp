// Where in a pass its calls stand follows from the matrix products: those of the embedding, of
// every block, of the head, in that order; backward the other way round. Calls only need to stand
// in the right order and about right in time: what a pass takes with the collectives it waits for
// does not depend on where it is cut.
#include "sim/step/replica.h"

#include <algorithm>
#include <iterator>

#include "models/vit/cost_graph.h"

namespace vitsim {

namespace {

double flops_share(const ModelPart& part, const ModelPart& whole) {
  return forward_flops(part) / forward_flops(whole);
}

// `count` copies of a block's calls, the first from `begin` on, each `length` long.
void repeat(const std::vector<PassCall>& calls,
            std::int64_t count,
            double begin,
            double length,
            std::vector<PassCall>& placed) {
  for (std::int64_t block = 0; block < count; ++block) {
    const double from = begin + static_cast<double>(block) * length;
    for (const PassCall& call : calls) {
      placed.push_back(call);
      placed.back().at = std::min(1.0, from + call.at * length);
    }
  }
}

}  // namespace

BlockShares::BlockShares(const ModelPart& part) {
  const auto width = static_cast<double>(part.model.width);
  const auto keys = static_cast<double>(part.padded_tokens()) * (part.model.causal ? 0.5 : 1);
  const double all = 4 * width + 2 * keys + 2 * static_cast<double>(part.model.mlp);
  attention_begin = 3 * width / all;
  attention_end = (3 * width + 2 * keys) / all;
  mlp_begin = (4 * width + 2 * keys) / all;
}

BlockCalls joined(const BlockCalls& a, const BlockCalls& b) {
  const auto merge = [](const std::vector<PassCall>& one, const std::vector<PassCall>& other) {
    std::vector<PassCall> both;
    std::ranges::merge(one, other, std::back_inserter(both), {}, &PassCall::at, &PassCall::at);
    return both;
  };
  return {.forward = merge(a.forward, b.forward), .backward = merge(a.backward, b.backward)};
}

void place_calls(const ModelPart& part, const BlockCalls& calls, ChunkWork& chunk) {
  const std::int64_t blocks = part.block_count();
  if (blocks == 0) {
    return;
  }
  ModelPart embedding = part.only_ends();
  embedding.head = false;
  const double begin = part.embedding ? flops_share(embedding, part) : 0;
  const double of_blocks = flops_share(part.only_blocks(), part);
  const double length = of_blocks / static_cast<double>(blocks);
  repeat(calls.forward, blocks, begin, length, chunk.forward_calls);
  std::vector<PassCall> backward = calls.backward;
  if (part.recompute == Recompute::kBlock) {
    backward.clear();
    for (PassCall call : calls.forward) {
      call.at /= 3;
      backward.push_back(call);
    }
    for (PassCall call : calls.backward) {
      call.at = (1 + 2 * call.at) / 3;
      backward.push_back(call);
    }
  }
  const double head = std::max(0.0, 1 - begin - of_blocks);
  repeat(backward, blocks, head, length, chunk.backward_calls);
}

}  // namespace vitsim
