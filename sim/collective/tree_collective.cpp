#include "sim/collective/tree_collective.h"

#include <algorithm>

#include <fmt/format.h>

// Pipelined trees. In every tree a rank sends chunk c to its parent once it has started, chunk c of
// every child has arrived and its chunk c-1 is delivered; the root turns chunk c round as soon as
// it has it; on the way down a rank sends chunk c to each child once it has it and the child's
// chunk c-1 is delivered. Messages of a stream arrive in order, so counts say everything. A rank is
// done when nothing is left for it to send or to receive in any tree.

namespace vitsim {

namespace {

class TreeCollective final : public EventCollective {
 public:
  TreeCollective(StreamSet& streams,
                 TreePlan plan,
                 CollectiveListener& done,
                 std::uint32_t collective)
      : engine_(streams.engine()),
        plan_(std::move(plan)),
        done_(done),
        collective_(collective),
        handler_(engine_.add_handler(*this)),
        edges_(plan_.trees.size() * plan_.ranks),
        children_(edges_.size()),
        started_(plan_.ranks),
        finished_(plan_.ranks) {
    for (std::uint32_t tree = 0; tree < plan_.trees.size(); ++tree) {
      for (std::uint32_t rank = 0; rank < plan_.ranks; ++rank) {
        if (rank == plan_.trees[tree].root) {
          continue;
        }
        const std::uint32_t parent = plan_.trees[tree].parent[rank];
        Edge& edge = edges_[index(tree, rank)];
        const auto stream = [&](std::uint32_t from, std::uint32_t to) {
          return plan_.rails > 1 ? streams.on_rail(tree / 2, 1 + tree % 2, from, to)
                                 : streams.between(1 + tree, from, to);
        };
        edge.up_stream = stream(rank, parent);
        edge.down_stream = stream(parent, rank);
        children_[index(tree, parent)].push_back(rank);
      }
    }
  }

  void start(std::uint32_t position) override {
    started_[position] = true;
    for (std::uint32_t tree = 0; tree < plan_.trees.size(); ++tree) {
      go_on(tree, position);
    }
  }

  void reset() override {
    for (Edge& edge : edges_) {
      edge.up = edge.down = {};
    }
    std::fill(started_.begin(), started_.end(), false);
    std::fill(finished_.begin(), finished_.end(), false);
  }

  void on_event(std::uint32_t tag) override {
    const bool is_up = tag % 2 == 0;
    const std::uint32_t child = tag / 2 % plan_.ranks;
    const std::uint32_t tree = tag / 2 / plan_.ranks;
    Edge& edge = edges_[index(tree, child)];
    Way& way = is_up ? edge.up : edge.down;
    ++way.delivered;
    way.busy = false;
    go_on(tree, child);
    go_on(tree, plan_.trees[tree].parent[child]);
  }

  [[nodiscard]] std::vector<std::string> waiting() const override {
    std::vector<std::string> found;
    for (std::uint32_t rank = 0; rank < plan_.ranks; ++rank) {
      if (!started_[rank]) {
        found.push_back(fmt::format("position {} has not started", rank));
      } else if (!finished_[rank]) {
        found.push_back(fmt::format("position {} waits for chunks of its trees", rank));
      }
    }
    return found;
  }

 private:
  /// Chunks on one way of an edge.
  struct Way {
    std::int64_t delivered = 0;
    bool busy = false;
  };

  /// Between a rank and its parent in one tree.
  struct Edge {
    StreamId up_stream = 0;
    StreamId down_stream = 0;
    Way up;
    Way down;
  };

  [[nodiscard]] std::size_t index(std::uint32_t tree, std::uint32_t rank) const {
    return static_cast<std::size_t>(tree) * plan_.ranks + rank;
  }

  /// Chunks that `rank` has reduced, with its whole subtree.
  [[nodiscard]] std::int64_t reduced(std::uint32_t tree, std::uint32_t rank) const {
    std::int64_t chunks = plan_.chunks;
    if (plan_.up) {
      for (const std::uint32_t child : children_[index(tree, rank)]) {
        chunks = std::min(chunks, edges_[index(tree, child)].up.delivered);
      }
    }
    return chunks;
  }

  /// Sends what `rank` can send in `tree`.
  void go_on(std::uint32_t tree, std::uint32_t rank) {
    if (!started_[rank]) {
      return;
    }
    const bool is_root = rank == plan_.trees[tree].root;
    Edge& own = edges_[index(tree, rank)];
    if (plan_.up && !is_root && !own.up.busy && own.up.delivered < reduced(tree, rank)) {
      own.up.busy = true;
      engine_.send(own.up_stream, plan_.chunk_bytes, handler_, tag(tree, rank, true));
    }
    if (plan_.down) {
      const std::int64_t here = is_root ? reduced(tree, rank) : own.down.delivered;
      for (const std::uint32_t child : children_[index(tree, rank)]) {
        Edge& edge = edges_[index(tree, child)];
        if (!edge.down.busy && edge.down.delivered < here) {
          edge.down.busy = true;
          engine_.send(edge.down_stream, plan_.chunk_bytes, handler_, tag(tree, child, false));
        }
      }
    }
    if (!finished_[rank] && is_done(rank)) {
      finished_[rank] = true;
      done_.collective_done(collective_, rank);
    }
  }

  [[nodiscard]] std::uint32_t tag(std::uint32_t tree, std::uint32_t child, bool is_up) const {
    return (tree * plan_.ranks + child) * 2 + (is_up ? 0 : 1);
  }

  [[nodiscard]] bool is_done(std::uint32_t rank) const {
    const auto complete = [&](std::uint32_t tree, std::uint32_t child) {
      const Edge& edge = edges_[index(tree, child)];
      return (!plan_.up || edge.up.delivered == plan_.chunks) &&
             (!plan_.down || edge.down.delivered == plan_.chunks);
    };
    for (std::uint32_t tree = 0; tree < plan_.trees.size(); ++tree) {
      if (rank != plan_.trees[tree].root && !complete(tree, rank)) {
        return false;
      }
      for (const std::uint32_t child : children_[index(tree, rank)]) {
        if (!complete(tree, child)) {
          return false;
        }
      }
    }
    return true;
  }

  FlowEngine& engine_;
  TreePlan plan_;
  CollectiveListener& done_;
  std::uint32_t collective_;
  HandlerId handler_;
  std::vector<Edge> edges_;                           // [tree * ranks + child]
  std::vector<std::vector<std::uint32_t>> children_;  // [tree * ranks + parent]
  std::vector<bool> started_;
  std::vector<bool> finished_;
};

}  // namespace

std::unique_ptr<EventCollective> make_tree_collective(StreamSet& streams,
                                                      TreePlan plan,
                                                      CollectiveListener& done,
                                                      std::uint32_t collective) {
  return std::make_unique<TreeCollective>(streams, std::move(plan), done, collective);
}

}  // namespace vitsim
