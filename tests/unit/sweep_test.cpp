#include "sim/predict/sweep.h"

#include <set>

#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

TEST(Sweep, CommasInsideBracketsDoNotSeparate) {
  const VariedKey key = parse_varied_key("training.micro_batch_per_gpu=8,[8,16],\"a,b\"");
  EXPECT_EQ(key.key, "training.micro_batch_per_gpu");
  EXPECT_EQ(key.values, (std::vector<std::string>{"8", "[8,16]", "\"a,b\""}));
}

TEST(Sweep, MistakesInAKeyAreNamed) {
  EXPECT_THROW(parse_varied_key("training.epochs"), UserError);
  EXPECT_THROW(parse_varied_key("=1,2"), UserError);
  EXPECT_THROW(parse_varied_key("training.epochs=1,,2"), UserError);
}

TEST(Sweep, TheLastKeyVariesFastest) {
  const std::vector<VariedKey> keys = {{"a", {"1", "2"}}, {"b", {"x", "y", "z"}}};
  const auto rows = sweep_rows(keys, 0, 1);
  ASSERT_EQ(rows.size(), 6U);
  EXPECT_EQ(rows[0].values, (std::vector<std::string>{"1", "x"}));
  EXPECT_EQ(rows[1].values, (std::vector<std::string>{"1", "y"}));
  EXPECT_EQ(rows[5].values, (std::vector<std::string>{"2", "z"}));
  EXPECT_EQ(overrides_of(keys, rows[4])[1].value, "y");
}

TEST(Sweep, ShardsPartTheRows) {
  const std::vector<VariedKey> keys = {{"a", {"1", "2", "3"}}, {"b", {"x", "y", "z"}}};
  std::set<std::int64_t> seen;
  for (std::int64_t shard = 0; shard < 4; ++shard) {
    for (const SweepRow& row : sweep_rows(keys, shard, 4)) {
      EXPECT_TRUE(seen.insert(row.index).second);
    }
  }
  EXPECT_EQ(seen.size(), 9U);
}

}  // namespace
}  // namespace vitsim
