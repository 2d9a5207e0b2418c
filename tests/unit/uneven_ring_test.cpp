#include "sim/collective/uneven_ring.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/collective/communicator.h"
#include "sim/collective/ring.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr Tick kMs = 1'000'000'000;

TEST(UnevenRing, PiecesAreRoundedUp) {
  const std::vector<double> shares = {0.5, 0.25, 0.25, 0};
  EXPECT_THAT(pieces_of(shares, 1000), ElementsAre(500, 250, 250, 0));
  EXPECT_THAT(pieces_of(shares, 1001), ElementsAre(501, 251, 251, 0));
}

// Of an AllGather every position sends all pieces but that of the next one, which has it: N - 1
// different ones, its own first. Of a ReduceScatter all but its own, that of the one before first;
// what reaches a position last, sent by the one before, is its own.
TEST(UnevenRing, EveryPieceGoesOnceOverEachHop) {
  constexpr std::size_t kRanks = 5;
  for (std::size_t position = 0; position < kRanks; ++position) {
    std::set<std::size_t> gathered;
    std::set<std::size_t> reduced;
    for (std::size_t step = 0; step + 1 < kRanks; ++step) {
      gathered.insert(sent_piece(CollectiveKind::kAllGather, kRanks, position, step));
      reduced.insert(sent_piece(CollectiveKind::kReduceScatter, kRanks, position, step));
    }
    EXPECT_EQ(gathered.size(), kRanks - 1);
    EXPECT_FALSE(gathered.contains((position + 1) % kRanks));
    EXPECT_EQ(sent_piece(CollectiveKind::kAllGather, kRanks, position, 0), position);
    EXPECT_EQ(reduced.size(), kRanks - 1);
    EXPECT_FALSE(reduced.contains(position));
    const std::size_t before = (position + kRanks - 1) % kRanks;
    EXPECT_EQ(sent_piece(CollectiveKind::kReduceScatter, kRanks, before, kRanks - 2), position);
  }
}

// With pieces of one size it is the plain ring, whatever hops and starts.
TEST(UnevenRing, EqualPiecesAreThePlainRing) {
  std::vector<Tick> scratch;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    testing::RandomCluster random(seed);
    const auto n = static_cast<std::size_t>(random.between(2, 12));
    std::vector<Tick> hop(n);
    for (Tick& each : hop) {
      each = random.between(1, 1'000'000);
    }
    const std::vector<Tick> starts = random.starts(n);
    const std::vector<std::int64_t> pieces(n, 100);
    std::vector<Tick> even(n);
    std::vector<Tick> uneven(n);
    ring_by_recurrence(hop, static_cast<std::int64_t>(n) - 1, starts, even, scratch);
    for (const CollectiveKind kind : {CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
      UnevenRing(kind, pieces, [&](std::int64_t) { return hop; }).run(starts, uneven, scratch);
      ASSERT_EQ(uneven, even) << seed;
    }
  }
}

/// Machines at 1 GB/s without latency that hold these shares.
class Shards {
 public:
  explicit Shards(std::vector<double> shares)
      : network_(testing::star(
            static_cast<std::int64_t>(shares.size()), BytesPerSecond(1e9), Seconds(0))),
        group_(network_, testing::all_ranks(network_.world_size()), std::move(shares)) {}

  const Communicator* operator->() const { return &group_; }

  [[nodiscard]] std::vector<Tick> ends(CollectiveKind kind, std::int64_t bytes) const {
    const std::vector<Tick> starts(group_.size(), 0);
    return group_.run(kind, Algorithm::kRing, bytes, starts);
  }

 private:
  Network network_;
  Communicator group_;
};

// The piece of 4 MB of 8 MB takes 4 ms over each of three hops, one after the other: nobody can
// pass it on before it has come. Equal pieces of 2 MB took 3 x 2 ms. An AllReduce, which knows no
// shards, takes 6 x 2 ms.
TEST(UnevenRing, TheLargestPieceSetsTheTime) {
  const Shards half({0.5, 0.25, 0.25, 0});
  for (const CollectiveKind kind : {CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
    EXPECT_TRUE(half->is_uneven(kind));
    EXPECT_EQ(std::ranges::max(half.ends(kind, 8'000'000)), 12 * kMs);
  }
  EXPECT_FALSE(half->is_uneven(CollectiveKind::kAllReduce));
  EXPECT_THAT(half.ends(CollectiveKind::kAllReduce, 8'000'000), Each(12 * kMs));
  EXPECT_THAT(Shards(std::vector<double>(4, 0.25)).ends(CollectiveKind::kAllGather, 8'000'000),
              Each(6 * kMs));
}

// Pipelined broadcasts put all pieces but the smallest on the busiest hop: 7 of 8 MB here, where
// equal pieces put 6 there. So they load links as 7 x 4/3 MB in equal pieces.
TEST(UnevenRing, NcclsBusiestLinkCarriesAllButTheSmallestPiece) {
  const Shards shards({0.5, 0.25, 0.125, 0.125});
  EXPECT_EQ(shards->even_bytes(CollectiveKind::kAllGather, 6'000'000), 7'000'000);
  EXPECT_EQ(shards->even_bytes(CollectiveKind::kReduceScatter, 6'000'000), 7'000'000);
  EXPECT_EQ(shards->even_bytes(CollectiveKind::kAllReduce, 6'000'000), 6'000'000);
}

}  // namespace
}  // namespace vitsim
