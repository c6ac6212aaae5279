/* A stand-in for NVIDIA's driver library that the real pynvml binding loads: it says what a script file says.
 *
 * NVML_STUB_SCRIPT names the file; it is read again at each call, so that a test can break and mend the driver while a
 * program runs. One `KEY VALUE` a line; KEY is init, count, driver, or one of handle, name, utilization, memory_used_mib,
 * memory_total_mib, temperature_c, power_mw, throttle_reasons followed by `.INDEX`. VALUE is a number (or a name), or a fault:
 *   hang            the call does not return before the script says something else
 *   error NUMBER    the call returns this nvmlReturn_t
 * A key that is missing is not supported; handle and init are fine when missing. `driver` names the running driver: a
 * session that was opened under another one is dead until nvmlShutdown and a new nvmlInit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9 };
typedef int nvmlReturn_t;
typedef struct { int index; } *nvmlDevice_t;

static struct { int index; } devices[64];
static int sessions;
static char session_driver[256];

/* Copy the value of a key; 0 when there is none. */
static int look_up(const char *key, char *value, size_t size) {
    const char *path = getenv("NVML_STUB_SCRIPT");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file)) {
        size_t length = strlen(key);
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    }
    if (file)
        fclose(file);
    return found;
}

/* The same, but act out its faults; returns what the NVML call must return. */
static nvmlReturn_t ask(const char *key, char *value, size_t size, nvmlReturn_t when_missing) {
    for (;;) {
        if (!look_up(key, value, size))
            return when_missing;
        if (strcmp(value, "hang") != 0)
            break;
        usleep(10000);
    }
    return strncmp(value, "error ", 6) == 0 ? atoi(value + 6) : SUCCESS;
}

static nvmlReturn_t check_session(void) {
    char driver[256] = "";
    look_up("driver", driver, sizeof driver);
    if (!sessions)
        return UNINITIALIZED;
    return strcmp(driver, session_driver) == 0 ? SUCCESS : DRIVER_NOT_LOADED;
}

/* Ask for a field of a device. */
static nvmlReturn_t field(const char *name, nvmlDevice_t device, char *value, size_t size) {
    char key[64];
    nvmlReturn_t status = check_session();
    if (status != SUCCESS)
        return status;
    snprintf(key, sizeof key, "%s.%d", name, device->index);
    return ask(key, value, size, NOT_SUPPORTED);
}

static nvmlReturn_t number(const char *name, nvmlDevice_t device, unsigned long long *result) {
    char value[256];
    nvmlReturn_t status = field(name, device, value, sizeof value);
    if (status == SUCCESS)
        *result = strtoull(value, NULL, 0);
    return status;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    char value[256];
    nvmlReturn_t status = ask("init", value, sizeof value, SUCCESS);
    (void)flags;
    if (status != SUCCESS)
        return status;
    if (sessions++ == 0) {
        session_driver[0] = 0;
        look_up("driver", session_driver, sizeof session_driver);
    }
    return SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) {
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void) {
    if (!sessions)
        return UNINITIALIZED;
    sessions--;
    return SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t status) {
    static char text[64];
    snprintf(text, sizeof text, "stub error %d", status);
    return text;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    char value[256] = "0";
    nvmlReturn_t status = check_session();
    if (status == SUCCESS)
        status = ask("count", value, sizeof value, SUCCESS);
    if (status == SUCCESS)
        *count = (unsigned int)atoi(value);
    return status;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    char key[64], value[256];
    nvmlReturn_t status = check_session();
    if (index >= sizeof devices / sizeof devices[0])
        return INVALID_ARGUMENT;
    snprintf(key, sizeof key, "handle.%u", index);
    if (status == SUCCESS)
        status = ask(key, value, sizeof value, SUCCESS);
    devices[index].index = (int)index;
    *device = (nvmlDevice_t)&devices[index];
    return status;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    char value[256];
    nvmlReturn_t status = field("name", device, value, sizeof value);
    if (status == SUCCESS)
        snprintf(name, length, "%s", value);
    return status;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, unsigned int rates[2]) {
    unsigned long long value = 0;
    nvmlReturn_t status = number("utilization", device, &value);
    rates[0] = (unsigned int)value;
    rates[1] = 0;
    return status;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, unsigned long long memory[3]) {
    unsigned long long total = 0, used = 0;
    nvmlReturn_t status = number("memory_total_mib", device, &total);
    if (status == SUCCESS)
        status = number("memory_used_mib", device, &used);
    memory[0] = total << 20;
    memory[1] = (total - used) << 20;
    memory[2] = used << 20;
    return status;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned int *celsius) {
    unsigned long long value = 0;
    nvmlReturn_t status = number("temperature_c", device, &value);
    (void)sensor;
    *celsius = (unsigned int)value;
    return status;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *milliwatts) {
    unsigned long long value = 0;
    nvmlReturn_t status = number("power_mw", device, &value);
    *milliwatts = (unsigned int)value;
    return status;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *reasons) {
    *reasons = 0;
    return number("throttle_reasons", device, reasons);
}
