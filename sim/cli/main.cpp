#include <fmt/core.h>

int main() {
  fmt::print("vitsim\n");
  return 0;
}
