#include "tests/support/run_program_support.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include "tests/support/temporary_folder_support.h"

namespace vitsim::test {

ProgramRun run_program(const std::vector<std::string>& words) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "output";
  const auto err = folder.path() / "errors";
  constexpr int kNew = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), kNew, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), kNew, 0600);
  std::vector<char*> argv;
  for (const std::string& word : words) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);
  pid_t child = 0;
  const int problem = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (problem != 0) {
    ADD_FAILURE() << words.front() << " cannot be started: error " << problem;
    return {};
  }
  int status = 0;
  waitpid(child, &status, 0);
  return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          .output = file_text(out),
          .errors = file_text(err)};
}

ProgramRun run_vitsim(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {std::string(VITSIM_BINARY_DIR) + "/vitsim"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run_program(words);
}

}  // namespace vitsim::test
