// Broken input of every kind: files of this project, and those beside the checkout, with bytes
// flipped, parts cut out, repeated or exchanged, and numbers made extreme. Every command must end
// with exit code 0, 2 or 3, within two seconds of processor time and a gigabyte.
//
// Each case runs in a process of its own. VITSIM_MUTATIONS sets how many there are for each file
// (default 3); VITSIM_MUTATION_SEED where they start. A failure names file and seed.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/cli/application.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

namespace fs = std::filesystem;

#ifndef __has_feature
#define __has_feature(name) 0  // of clang; g++ defines a macro
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
// The sanitizer reserves terabytes of addresses, and checks every access.
constexpr rlim_t kMostMemory = RLIM_INFINITY;
constexpr rlim_t kMostSeconds = 20;
#else
constexpr rlim_t kMostMemory = rlim_t{1} << 30;
constexpr rlim_t kMostSeconds = 2;
#endif
const fs::path kKept = VITSIM_BINARY_DIR "/failed_mutations";
constexpr std::uintmax_t kLargestInput = 300'000;  // larger ones say nothing new and take longer

std::int64_t from_environment(const char* name, std::int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

std::string mutate(std::string text, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](std::size_t limit) { return limit == 0 ? 0 : random() % limit; };
  const auto range = [&] {
    const std::size_t begin = below(text.size());
    return std::pair(begin, std::min(text.size() - begin, below(200) + 1));
  };
  static constexpr std::array<const char*, 12> kNumbers = {"-1",
                                                           "0",
                                                           "1e308",
                                                           "1e-300",
                                                           "99999999999999999999",
                                                           "9223372036854775807",
                                                           "-9223372036854775808",
                                                           "nan",
                                                           "inf",
                                                           "1e18",
                                                           "0.0000001",
                                                           "4294967296"};
  static constexpr std::array<const char*, 10> kPieces = {
      "\"", "{", "]", ",", "\n", "\x1b[31m", "\xff\xfe", "time (ms) | ", "null", "../../x"};
  const std::size_t count = 1 + below(4);
  for (std::size_t i = 0; i < count && !text.empty(); ++i) {
    const auto [begin, length] = range();
    switch (below(7)) {
      case 0:
        text[begin] = static_cast<char>(random());
        break;
      case 1:
        text.erase(begin, length);
        break;
      case 2:
        text.insert(begin, text.substr(begin, length));
        break;
      case 3:
        text.resize(begin);
        break;
      case 4:
        text.insert(begin, kPieces[below(kPieces.size())]);
        break;
      case 5: {
        const std::string part = text.substr(begin, length);
        text.erase(begin, length);
        text.insert(below(text.size() + 1), part);
        break;
      }
      default: {
        const std::size_t number = text.find_first_of("0123456789", begin);
        if (number != std::string::npos) {
          const std::size_t end =
              std::min(text.find_first_not_of("0123456789.e+-", number), text.size());
          text.replace(number, end - number, kNumbers[below(kNumbers.size())]);
        }
      }
    }
  }
  return text;
}

/// How a command ended: its exit code, or minus the signal that ended it.
int run_limited(const std::vector<std::string>& arguments, const fs::path& folder) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit memory{kMostMemory, kMostMemory};
    const rlimit seconds{kMostSeconds, kMostSeconds + 1};
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_CPU, &seconds);
    if (chdir(folder.c_str()) != 0) {
      _exit(99);
    }
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    std::vector<const char*> words = {"vitsim"};
    for (const std::string& argument : arguments) {
      words.push_back(argument.c_str());
    }
    _exit(run_application(static_cast<int>(words.size()), words.data()));
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::vector<fs::path> inputs_below(const fs::path& folder) {
  std::vector<fs::path> inputs;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder, error)) {
    if (entry.is_regular_file() && entry.file_size() <= kLargestInput &&
        entry.path().extension() != ".md") {
      inputs.push_back(entry.path());
    }
  }
  std::ranges::sort(inputs);
  return inputs;
}

class Mutations : public ::testing::Test {
 protected:
  /// Mutates every file and runs the commands on it; `name` is what the file is called then.
  template <typename Commands>
  void run(const std::vector<fs::path>& inputs, Commands commands) {
    const std::int64_t count = from_environment("VITSIM_MUTATIONS", 3);
    const std::int64_t first = from_environment("VITSIM_MUTATION_SEED", 1);
    for (const fs::path& input : inputs) {
      const std::string text = test::file_text(input);
      for (std::int64_t seed = first; seed < first + count; ++seed) {
        const fs::path file = folder_.write("in/" + input.filename().string(),
                                            mutate(text, static_cast<std::uint64_t>(seed)));
        for (const std::vector<std::string>& arguments : commands(file)) {
          const int code = run_limited(arguments, folder_.path());
          const bool is_right = code == 0 || code == 2 || code == 3;
          EXPECT_TRUE(is_right) << input << " seed " << seed << ": " << arguments[0] << " "
                                << arguments[1] << " ended with " << code << "; kept in " << kKept;
          if (!is_right) {
            fs::create_directories(kKept);
            fs::copy_file(file, kKept / file.filename(), fs::copy_options::overwrite_existing);
          }
        }
        fs::remove(file);
        ++cases_;
      }
    }
    std::fprintf(stderr, "%lld mutations\n", static_cast<long long>(cases_));
  }

  [[nodiscard]] std::string at(const std::string& name) const {
    return (folder_.path() / name).string();
  }

  test::TemporaryFolder folder_;
  std::int64_t cases_ = 0;
};

const fs::path kSource = VITSIM_SOURCE_DIR;

TEST_F(Mutations, OfWhatIsImported) {
  std::vector<fs::path> inputs = inputs_below(kSource / "tests/golden/import");
  for (const char* folder : {"../shared/cases/nccl-tests",
                             "../shared/cases/deepspeed",
                             "../shared/cases/kineto",
                             "../shared/cases/configs",
                             "../shared/reference-runs"}) {
    std::ranges::copy(inputs_below(kSource / folder), std::back_inserter(inputs));
  }
  run(inputs, [&](const fs::path& file) {
    return std::vector<std::vector<std::string>>{
        {"calibrate",
         "import",
         file.string(),
         "--model",
         "vit-ti-16",
         "--micro-batch",
         "4",
         "--gpus",
         "a40",
         "--out",
         at("m.json")},
        {"calibrate", "fit", at("m.json"), "--out", at("profiles")}};
  });
}

TEST_F(Mutations, OfClusterFiles) {
  run(inputs_below(kSource / "configs/cluster"), [&](const fs::path& file) {
    return std::vector<std::vector<std::string>>{
        {"predict", file.string(), "--threads", "1", "--replicates", "4"}};
  });
}

TEST_F(Mutations, OfProfilesAndSheets) {
  std::vector<fs::path> inputs = inputs_below(kSource / "configs/profiles");
  for (const char* folder : {"configs/gpus", "configs/links"}) {
    std::ranges::copy(inputs_below(kSource / folder), std::back_inserter(inputs));
  }
  const std::string cluster = (kSource / "configs/cluster/tesla-4gpu.json").string();
  run(inputs, [&](const fs::path& file) {
    return std::vector<std::vector<std::string>>{{"predict",
                                                  cluster,
                                                  "--threads",
                                                  "1",
                                                  "--replicates",
                                                  "4",
                                                  "--set",
                                                  "profiles=[\"" + file.string() + "\"]"}};
  });
}

}  // namespace
}  // namespace vitsim
