// vitsim-oracle FILE: computes the cases of an oracle file and prints them as JSON. Exit 0: every
// expectation in the file is met; 1: one is not; 2: the file is wrong.

#include <exception>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "models/error.h"
#include "tests/support/oracle.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: vitsim-oracle FILE\n");
    return 2;
  }
  try {
    const nlohmann::json results =
        vitsim::testing::compute_oracle(vitsim::testing::read_oracle(argv[1]));
    fmt::print("{}\n", results.dump(1));
    for (const nlohmann::json& result : results["cases"]) {
      if (result.contains("agrees") && !result["agrees"].get<bool>()) {
        return 1;
      }
    }
    return 0;
  } catch (const vitsim::UserError& error) {
    for (const std::string& problem : error.problems()) {
      fmt::print(stderr, "vitsim-oracle: error: {}\n", problem);
    }
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "vitsim-oracle: {}\n", error.what());
    return 70;
  }
}
