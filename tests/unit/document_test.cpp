#include "models/document/document.h"

#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/document/document_reader.h"
#include "models/error.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// What parsing alone complains of.
std::vector<std::string> parse_problems(std::string_view text) {
  Problems problems;
  try {
    (void)Document::parse(text, "f.json", problems);
    problems.throw_if_any();
  } catch (const UserError& error) {
    return error.problems();
  }
  return {};
}

TEST(Document, EveryValueKnowsItsLine) {
  // Numbers are the hard case: their end is seen only one character later.
  const std::string text = "{\n\"a\": 1\n,\n\"b\": [2,\n3\n],\n\"c\": 4.5}\n";
  Problems problems;
  const Document document = Document::parse(text, "f.json", problems);
  ObjectReader object(Field(document, problems));
  EXPECT_EQ(object.find("a")->where(), "f.json:2: /a");
  EXPECT_EQ(object.find("b")->where(), "f.json:4: /b");
  EXPECT_EQ(object.find("b")->elements()[0].where(), "f.json:4: /b/0");
  EXPECT_EQ(object.find("b")->elements()[1].where(), "f.json:5: /b/1");
  EXPECT_EQ(object.find("c")->where(), "f.json:7: /c");
  EXPECT_EQ(Field(document, problems).where(), "f.json:1: /");
}

TEST(Document, ValuesAreThoseOfTheText) {
  const std::string text =
      R"({"a":[null,true,-7,1.5,"x\n\u00e9",{"deep":[[]]}],"big":18446744073709551615})";
  Problems problems;
  const Document document = Document::parse(text, "f.json", problems);
  EXPECT_EQ(to_json(document.root())["a"], nlohmann::json::parse(text)["a"]);
  // Beyond int64 a number is a double.
  EXPECT_EQ(to_json(document.root())["big"], 18446744073709551616.0);
}

TEST(Document, BrokenFilesSayWhereAndWhy) {
  EXPECT_THAT(parse_problems("{\n \"a\": 1,\n \"b\"")[0],
              HasSubstr("f.json:3: the file ends in the middle: unexpected end of input"));
  EXPECT_THAT(parse_problems("{\n \"a\": \"half")[0],
              HasSubstr("f.json:2: the file ends in the middle"));
  EXPECT_THAT(parse_problems("")[0], HasSubstr("f.json: the file is empty"));
  EXPECT_THAT(parse_problems(" \n\n")[0], HasSubstr("the file is empty"));
  EXPECT_THAT(parse_problems(std::string_view("\x7f"
                                              "ELF\0\1",
                                              6))[0],
              HasSubstr("not a text file"));
  EXPECT_THAT(parse_problems("{\"a\": NaN}")[0], HasSubstr("f.json:1: not JSON: invalid literal"));
  EXPECT_THAT(parse_problems("{\"a\": 1e999}")[0], HasSubstr("f.json:1: not JSON"));
  EXPECT_THAT(parse_problems("{\"a\": 1} {")[0], HasSubstr("f.json:1: not JSON"));
  EXPECT_THAT(parse_problems("{\"a\": 'x'}")[0], HasSubstr("f.json:1: not JSON"));
  EXPECT_THAT(parse_problems("{\"a\": \"\xff\xfe\"}")[0], HasSubstr("ill-formed UTF-8"));
}

TEST(Document, DuplicateKeysAreAProblem) {
  EXPECT_THAT(parse_problems("{\"a\": 1,\n\"b\": 2,\n\"a\": 3}"),
              ElementsAre("f.json:3: key \"a\" is given twice (first on line 1)"));
}

TEST(Document, DepthAndSizeAreLimited) {
  EXPECT_THAT(parse_problems(std::string(100'000, '['))[0], HasSubstr("nested more than 64 deep"));
  const TemporaryFolder folder;
  const auto file = folder.path() / "large.json";
  folder.write("large.json", "{}");
  std::filesystem::resize_file(file, 100'000'000);
  const auto start = std::chrono::steady_clock::now();
  Problems problems;
  try {
    (void)Document::read(file, problems);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("large.json: larger than 16 MB"));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  try {
    (void)Document::parse("[0,1,2,3]", "f.json", problems, {.values = 4});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("f.json:1: not JSON: more than 4 values"));
  }
}

TEST(Document, FilesThatCannotBeReadAreNamed) {
  const TemporaryFolder folder;
  Problems problems;
  for (const auto& [file, reason] :
       {std::pair(folder.path() / "absent.json", "absent.json: no such file"),
        std::pair(folder.path(), "is a folder")}) {
    try {
      (void)Document::read(file, problems);
      FAIL();
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(reason));
    }
  }
}

TEST(Document, ManyProblemsAreCountedNotListed) {
  std::string text = "{";
  for (int i = 0; i < 500; ++i) {
    text += "\"k" + std::to_string(i) + "\":0,\n";
  }
  Problems problems;
  const Document document = Document::parse(text + "\"z\":0}", "f.json", problems);
  ObjectReader(Field(document, problems)).finish();
  try {
    problems.throw_if_any();
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.problems(), SizeIs(101));
    EXPECT_EQ(error.problems().back(), "and 401 more problems");
  }
}

// ---- --set ----

nlohmann::json after_set(std::string_view text, std::string_view key, std::string_view value) {
  Problems problems;
  Document document = Document::parse(text, "f.json", problems);
  document.set(key, value, nullptr, problems);
  problems.throw_if_any();
  return to_json(document.root());
}

TEST(Document, SetReplacesAndAdds) {
  using Json = nlohmann::json;
  EXPECT_EQ(after_set(R"({"a":{"b":1}})", "a.b", "2"), Json::parse(R"({"a":{"b":2}})"));
  EXPECT_EQ(after_set(R"({"a":[1,2]})", "a.1", "[3]"), Json::parse(R"({"a":[1,[3]]})"));
  EXPECT_EQ(after_set("{}", "a.b.c", "10Gbps"), Json::parse(R"({"a":{"b":{"c":"10Gbps"}}})"));
  EXPECT_EQ(after_set("{}", "a", "vit-b-16"), Json::parse(R"({"a":"vit-b-16"})"));
  EXPECT_EQ(after_set("{}", "a", "\"1\""), Json::parse(R"({"a":"1"})"));
  EXPECT_EQ(after_set("{}", "a", ""), Json::parse(R"({"a":""})"));
}

TEST(Document, SetNamesTheOptionInItsProblems) {
  const auto problem = [](std::string_view key) -> std::string {
    try {
      (void)after_set(R"({"a":[1,2],"s":"x"})", key, "5");
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(problem("a.7"), "--set a.7=5: /a: is a list of 2; \"7\" is no index into it");
  EXPECT_EQ(problem("s.t"), "--set s.t=5: /s: is a string and has no \"t\"");
  EXPECT_THAT(problem("a..b"), HasSubstr("a key is names and indices joined by points"));
  EXPECT_THAT(problem(""), HasSubstr("a key is names and indices joined by points"));
}

}  // namespace
}  // namespace vitsim
