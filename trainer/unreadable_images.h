#pragma once

#include <set>
#include <string>
#include <vector>

#include "trainer/communication.h"
#include "trainer/data/dataset.h"

namespace vitsim {

/// The images that some rank could not read, and which others replaced.
class UnreadableImages {
 public:
  /// Those found on any rank since the last call, in order of their names. Collective.
  std::vector<std::string> gather(Communication& communication,
                                  const std::vector<const Dataset*>& datasets);

  /// What to tell at the end: how many, and the first of them. Empty where there were none.
  [[nodiscard]] std::vector<std::string> summary() const;

 private:
  std::set<std::string> known_;
};

}  // namespace vitsim
