#include "sim/cli/application.h"

int main(int argc, char** argv) {
  return vitsim::run_application(argc, argv);
}
