#include "models/document/relaxed_json.h"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace vitsim {
namespace {

using Json = nlohmann::json;

Json parsed(const std::string& relaxed) {
  return Json::parse(strict_json(relaxed));
}

TEST(RelaxedJson, StrictTextStaysAsItIs) {
  for (const std::string text : {R"({"a": [1, 2.5, -3e4], "b": {"c": null}, "d": "x // y # z, }"})",
                                 R"(["a\"b", "\\", true])",
                                 "{}",
                                 "7"}) {
    EXPECT_EQ(strict_json(text), text);
  }
}

TEST(RelaxedJson, DropsCommentsAndTrailingCommas) {
  EXPECT_EQ(
      parsed("{\n  // per card\n  \"a\": 64, # of it\n  \"b\": { \"c\": true, }, /* no\n more "
             "*/\n  \"d\": [1, 2,],\n}"),
      Json::parse(R"({"a": 64, "b": {"c": true}, "d": [1, 2]})"));
}

TEST(RelaxedJson, KeepsLines) {
  const std::string text = "{\n// one\n/* two\n three */ \"a\": 1,\n}\n";
  const std::string strict = strict_json(text);
  EXPECT_EQ(std::ranges::count(strict, '\n'), std::ranges::count(text, '\n'));
  EXPECT_EQ(std::ranges::count(strict.substr(0, strict.find("\"a\"")), '\n'), 3);
}

TEST(RelaxedJson, QuotesKeysAndSingleQuotedText) {
  EXPECT_EQ(parsed("{a_key: 'it\\'s \"so\"', b: [\"x\"]}"),
            Json::parse(R"({"a_key": "it's \"so\"", "b": ["x"]})"));
}

TEST(RelaxedJson, ALinesEndMayStandForAComma) {
  EXPECT_EQ(parsed("{\n  a: 1\n  \"b\": {\n    c: true\n  }\n  d: [\n 1\n 2\n ]\n}"),
            Json::parse(R"({"a": 1, "b": {"c": true}, "d": [1, 2]})"));
}

TEST(RelaxedJson, LeavesMistakesToTheParser) {
  for (const std::string text :
       {"{\"a\": }", "{\"a\" 1}", "{\"a\": 1 \"b\": 2}", "[1 2]", "{\"a", "/* open", "}{", "'"}) {
    EXPECT_THROW(parsed(text), Json::parse_error) << text;
  }
}

}  // namespace
}  // namespace vitsim
