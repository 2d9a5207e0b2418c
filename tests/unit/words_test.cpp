#include "models/document/words.h"

#include <gtest/gtest.h>

namespace vitsim {
namespace {

const std::vector<std::string> kGpus = {"rtx-3070", "rtx-3090", "tesla-p4", "tesla-t4", "a40"};

TEST(Words, TheNearestWordIsFound) {
  EXPECT_EQ(nearest_word("rtx-307O", kGpus), "rtx-3070");
  EXPECT_EQ(nearest_word("rtx3090", kGpus), "rtx-3090");   // signs do not count
  EXPECT_EQ(nearest_word("RTX 3070", kGpus), "rtx-3070");  // nor does case
  EXPECT_EQ(nearest_word("3070", kGpus), "rtx-3070");      // a part of the name
  EXPECT_EQ(nearest_word("telsa-t4", kGpus), "tesla-t4");  // one transposition
}

TEST(Words, FarWordsAreNotGuessed) {
  EXPECT_EQ(nearest_word("gaudi", kGpus), std::nullopt);
  EXPECT_EQ(nearest_word("", kGpus), std::nullopt);
  EXPECT_EQ(nearest_word(std::string(1'000'000, 'x'), kGpus), std::nullopt);
}

TEST(Words, AHintOrTheListOfKnownWords) {
  EXPECT_EQ(did_you_mean("rtx-307O", kGpus), " (did you mean \"rtx-3070\"?)");
  EXPECT_EQ(did_you_mean("gaudi", kGpus), "; known: rtx-3070, rtx-3090, tesla-p4, tesla-t4, a40");
  EXPECT_EQ(did_you_mean("gaudi", {}), "");
}

TEST(Words, QuotedWordsAreFitForATerminal) {
  EXPECT_EQ(in_quotes("a\x1b[31m\n"), "\"a\\x1b[31m\\x0a\"");
  EXPECT_EQ(in_quotes(std::string(100, 'x')), "\"" + std::string(80, 'x') + "...\"");
}

TEST(Words, RanksInARowScatteredAndMany) {
  EXPECT_EQ(rank_list(std::vector<std::int64_t>{3}), "rank 3");
  EXPECT_EQ(rank_list(std::vector<std::int64_t>{3, 4, 5}), "ranks 3-5");
  EXPECT_EQ(rank_list(std::vector<std::int64_t>{1, 4}), "ranks 1, 4");
  EXPECT_EQ(rank_list(std::vector<std::int64_t>{0, 2, 4, 6, 8, 10, 12, 14, 16}), "9 ranks");
}

}  // namespace
}  // namespace vitsim
