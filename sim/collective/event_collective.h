#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/collective/stream_set.h"
#include "sim/engine/flow_engine.h"

namespace vitsim {

/// Hears when a position of a group has done its part of a collective.
class CollectiveListener {
 public:
  virtual ~CollectiveListener() = default;

  virtual void collective_done(std::uint32_t collective, std::uint32_t position) = 0;
};

/// One collective call at event level. Every position starts on its own; sends are eager: the
/// receiver need not have started.
class EventCollective : public EventHandler {
 public:
  /// Position `position` joins now.
  virtual void start(std::uint32_t position) = 0;

  /// As new, for another call of the same size.
  virtual void reset() = 0;

  /// "position 3 waits for a message from position 2", for every position that is not done.
  [[nodiscard]] virtual std::vector<std::string> waiting() const = 0;
};

}  // namespace vitsim
