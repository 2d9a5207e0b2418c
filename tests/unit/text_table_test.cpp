#include "sim/render/text_table.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Align = TextTable::Align;

TEST(TextTable, ColumnsAreAsWideAsWhatTheyHold) {
  TextTable table({{"GPU", Align::kLeft}, {"step"}, {"remark", Align::kLeft}});
  table.add({"rtx-3070", "227 ms", "fits"});
  table.add({"p4", "1.2 s"});
  EXPECT_EQ(table.text({}, 2),
            "  GPU         step  remark\n"
            "  rtx-3070  227 ms  fits\n"
            "  p4         1.2 s\n");
}

TEST(TextTable, BreaksHeadingsThenWordsBeforeItIsTooWide) {
  TextTable table({{"a number with a long heading that goes on for more than half of a line"},
                   {"another heading of the same kind, which is long as well"},
                   {"words", Align::kLeft}});
  const std::string words =
      "a remark of many words that would not fit beside two columns of numbers in one line at all";
  table.add({"1.5 s", "2.5 s", words});
  const std::string text = table.text();
  std::istringstream lines(text);
  std::size_t widest = 0;
  for (std::string line; std::getline(lines, line);) {
    widest = std::max(widest, line.size());
  }
  EXPECT_LE(widest, TextTable::kWidth);
  EXPECT_THAT(text, HasSubstr("1.5 s"));
  EXPECT_THAT(text, HasSubstr("at all"));
}

TEST(TextTable, ColoursDoNotMoveColumns) {
  TextTable table({{"memory", Align::kLeft}, {"time"}});
  table.add({TextCell("out of memory", Ink::kBad), "1 s"});
  std::string coloured = table.text({.colours = true});
  EXPECT_THAT(coloured, HasSubstr("\x1b[31mout of memory\x1b[0m"));
  for (std::size_t at = 0; (at = coloured.find('\x1b')) != std::string::npos;) {
    coloured.erase(at, coloured.find('m', at) - at + 1);
  }
  EXPECT_EQ(coloured, table.text());
  EXPECT_THAT(table.text(), Not(HasSubstr("\x1b")));
}

// "µ" is one character of two bytes.
TEST(TextTable, CountsCharacters) {
  EXPECT_EQ(characters("5 \xC2\xB5s"), 4U);
  EXPECT_THAT(wrapped("one two three", 8), ElementsAre("one two", "three"));
  EXPECT_THAT(wrapped("unbreakable", 4), ElementsAre("unbr", "eaka", "ble"));
}

}  // namespace
}  // namespace vitsim
