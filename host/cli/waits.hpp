// How long a thread that has nothing to do keeps its core.
#pragma once

namespace tare::cli {

/// For the start of main(): starts the program again where its environment does not say how long OpenMP's threads spin
/// before they sleep. The runtime reads that when it is loaded, and spins for milliseconds by default: beside one other
/// busy process, inference then takes twenty times as long. Returns where that is settled or cannot be.
void wait_briefly(char** arguments);

}  // namespace tare::cli
